"""An agent that receives messages, and writes down which it began and which it ended."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def write_down(*words: object) -> None:
    line = " ".join(map(str, words)) + "\n"
    file = os.open(os.environ["ROUND"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def receive(message: dict[str, object]) -> dict[str, object]:
    place = message["sender"], message["offset"], json.dumps(message["content"])
    if message["content"] == "ignore_term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        write_down("pid", os.getpid())
        time.sleep(3600)
    write_down("begun", *place)
    while message["content"] == "hold" and not Path(os.environ["ROUND"] + ".go").exists():
        time.sleep(0.01)
    if isinstance(message["content"], dict) and "send" in message["content"]:
        ask = {"jsonrpc": "2.0", "id": "s", "method": "send", "params": message["content"]["send"]}
        sys.stdout.write(json.dumps(ask) + "\n")
        sys.stdout.flush()
        told = json.loads(sys.stdin.readline())
        write_down("told", *place[:2], json.dumps(told.get("error") or told["result"]))
    if message["content"] == "fail" or message["content"] == f"fail {message['attempt']}":
        return {"error": {"code": 1, "message": "it failed on purpose"}}
    write_down("ended", *place)
    return {"result": "taken"}


for received in sys.stdin:
    request = json.loads(received)
    if "id" in request:
        answer: dict[str, object] = {"result": {"capabilities": ["post"]}}
        if request["method"] == "invoke":
            answer = receive(request["params"]["input"])
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}) + "\n")
        sys.stdout.flush()
