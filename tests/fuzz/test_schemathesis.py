"""The API keeps what its document says, whatever it is sent: `make fuzz` sends much more.

Left out: two streams that have no end, commands to a thread, whose parameters depend on the
method, and why a run waits, by its id alone: a run without a thread is gone as soon as it ends.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.server import Server

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "2")
LEFT_OUT = r"(^/threads/[^/]*/(stream(/events)?|commands)|^/runs/[^/]*/why)$"


@pytest.mark.process
@pytest.mark.timeout(1_800)
def test_the_server_keeps_to_its_document(tmp_path: Path) -> None:
    server = Server(tmp_path, HERE / "project" / "langgraph.json")
    server.start(keep_alive=3_600)  # what does not end is then seen not to
    command = [
        str(SCHEMATHESIS), "run", f"{server.url}/openapi.json", "--checks", "all",
        "--max-examples", EXAMPLES, "--request-timeout", "10", "--continue-on-failure",
        "--warnings", "off", "--exclude-path-regex", LEFT_OUT, "--no-color",
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    try:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        server.close()
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
