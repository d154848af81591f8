"""The API keeps what its document says, whatever it is sent.

`make fuzz` sends much more, also with a key that may run and with one that may do everything.

Left out: two streams that have no end, commands to a thread, whose parameters depend on the
method, and why a run waits, by its id alone: a run without a thread is gone as soon as it ends.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from operations.keys import KeyFolder, KeyScope
from tests.process.server import Server

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "2")
CALLERS = (None, "run", "admin") if "FUZZ_EXAMPLES" in os.environ else (None,)
LEFT_OUT = r"(^/threads/[^/]*/(stream(/events)?|commands)|^/runs/[^/]*/why|^/ops/stream)$"


@pytest.mark.process
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("scope", CALLERS)
def test_the_server_keeps_to_its_document(tmp_path: Path, scope: KeyScope | None) -> None:
    server = Server(tmp_path, HERE / "project" / "langgraph.json")
    headers = [] if scope is None else ["--header", f"x-api-key: {_key(server, scope)}"]
    server.start(keep_alive=3_600)  # what does not end is then seen not to
    command = [
        str(SCHEMATHESIS), "run", f"{server.url}/openapi.json", "--checks", "all",
        "--max-examples", EXAMPLES, "--request-timeout", "10", "--continue-on-failure",
        "--warnings", "off", "--exclude-path-regex", LEFT_OUT, "--no-color", *headers,
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    try:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        server.close()
    sys.stdout.write(done.stdout)  # shown when it fails, and by `make fuzz ARGS=-s`
    assert done.returncode == 0, done.stderr[-2_000:]


def _key(server: Server, scope: KeyScope) -> str:
    """Make a key, which turns authentication on."""
    _, key = KeyFolder(server.data).create("somebody", scope)
    return key
