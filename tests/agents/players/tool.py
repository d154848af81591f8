"""A command for the tests of the kind `command`."""

import os
import signal
import sys
import time

deed, text = sys.argv[1:3]
if deed == "fail":
    sys.exit("it failed on purpose")
if deed == "trace":
    text = os.environ["TRACEPARENT"]
if deed == "ignore_term":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    text = str(os.getpid())
sys.stdout.write(sys.stdin.read() if deed == "read" else text)
sys.stdout.flush()
if deed in {"hang", "ignore_term"}:
    time.sleep(3600)
if deed == "flood":
    sys.stdout.write("x" * 1_000_000 + "the end")
    sys.stderr.write("y" * 1_000_000 + "the end")
