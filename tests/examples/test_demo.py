"""`make demo`, as far as it takes no show: what becomes of its server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.process.server import until

ROOT = Path(__file__).parents[2]


def test_the_server_ends_with_the_terminal() -> None:
    with subprocess.Popen(
        [sys.executable, "examples/demo.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    ) as demo:
        us = psutil.Process(demo.pid)
        until(us.children)
        (server,) = us.children()
        demo.send_signal(signal.SIGHUP)
        code, left = demo.wait(timeout=30), server.is_running()
        if left:
            server.kill()
    assert (code, left) == (128 + signal.SIGHUP, False)
