"""A `process` agent for the tests: does what the input says, for better or worse."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SLEEPER = [sys.executable, "-c", "import time; time.sleep(3600)"]


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def event(data: Any) -> None:
    say(method="event", params={"data": data})


def echo(given: dict[str, Any]) -> Any:
    return given.get("text")


def events(given: dict[str, Any]) -> Any:
    for step in range(given["count"]):
        event({"step": step})
    return "done"


def fail(given: dict[str, Any]) -> Any:
    raise ValueError("it failed on purpose")


def hang(given: dict[str, Any]) -> Any:
    event("begun")
    for line in sys.stdin:
        if json.loads(line)["method"] == "cancel":
            return "cancelled"
    return None


def sleep(given: dict[str, Any]) -> Any:
    event("begun")
    time.sleep(given.get("seconds", 3600))
    return "slept"


def die(given: dict[str, Any]) -> Any:
    sys.stderr.write("these are my last words\n" + "x" * given.get("more", 0))
    sys.stderr.flush()
    os._exit(7)


def stop(given: dict[str, Any]) -> Any:
    os.kill(os.getpid(), signal.SIGSTOP)


def long_line(given: dict[str, Any]) -> Any:
    for _ in range(given.get("megabytes", 1024)):
        os.write(1, b"x" * 2**20)


def send_unread(given: dict[str, Any]) -> Any:
    while True:
        say(method="send", id="x" * given["count"], params={})


def binary(given: dict[str, Any]) -> Any:
    os.write(1, bytes(range(256)) * 16 + b"\n")


def partial(given: dict[str, Any]) -> Any:
    os.write(1, b'{"jsonrpc": "2.0", "id": ')
    os._exit(0)


def close_stdout(given: dict[str, Any]) -> Any:
    os.close(1)
    time.sleep(3600)


def close_stdin(given: dict[str, Any]) -> Any:
    os.dup2(os.pipe()[0], 0)  # where nothing ever comes
    return "closed"


def wait_for(given: dict[str, Any]) -> Any:
    event("begun")
    while not Path(given["text"]).exists():
        time.sleep(0.01)
    return "waited"


def fork(given: dict[str, Any]) -> Any:
    return subprocess.Popen(SLEEPER).pid


def fork_and_die(given: dict[str, Any]) -> Any:
    subprocess.Popen(SLEEPER)
    os._exit(1)


def ignore_term(given: dict[str, Any]) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    event(os.getpid())
    while True:
        time.sleep(3600)


def look(given: dict[str, Any]) -> Any:
    return {"env": dict(os.environ), "cwd": str(Path.cwd()), "group": os.getpgid(0)}


def number(given: dict[str, Any]) -> Any:
    return {"number": [int(given["text"])], "text": given["text"]}


def tell_number(given: dict[str, Any]) -> Any:
    event({"number": int(given["text"])})


def send(given: dict[str, Any]) -> Any:
    say(method="send", id="s", params={"to": "post", "content": int(given["text"])})
    return json.loads(sys.stdin.readline())["error"]["message"]


def trace(given: dict[str, Any]) -> Any:
    return given["traceparent"]


def pid(given: dict[str, Any]) -> Any:
    return os.getpid()


DEEDS = {
    deed.__name__: deed
    for deed in (
        echo, events, fail, hang, sleep, die, stop, long_line, binary, partial, close_stdout, fork,
        close_stdin, fork_and_die, ignore_term, look, number, pid, send, send_unread, trace,
        tell_number, wait_for,
    )
}  # fmt: skip


def answer(message: dict[str, Any]) -> Any:
    if message["method"] == "initialize":
        time.sleep(float(os.environ.get("STARTS_IN", "0")))
        return {"capabilities": ["play"]}
    if message["method"] == "invoke":
        given = {**message["params"]["input"], "traceparent": message["params"].get("traceparent")}
        return DEEDS[given["do"]](given)
    return {}


for received in sys.stdin:
    request = json.loads(received)
    if "id" in request:
        try:
            say(id=request["id"], result=answer(request))
        except ValueError as error:
            say(id=request["id"], error={"code": 1, "message": str(error)})
