"""The log: one line per entry, whatever is in it, and no secrets from local variables."""

import io
import json
import logging
import math
import sys
import threading
from typing import Any

import orjson
import pytest
import structlog

from operations.log_stream import lines_held, write_held
from operations.logs import configure_logs, lines_heard_by, past_log
from operations.redaction import HIDDEN

pytestmark = pytest.mark.usefixtures("logs_as_before")


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def fail(why: str = "") -> None:
    password = "canary"  # a local variable, as a prompt or a key would be
    raise ValueError(why or f"broken after {len(password)}")


def test_an_entry_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", json=True)
    structlog.get_logger("x").info("done", path="a\nb", thing={1, 2}, number=1)
    (line,) = written(capsys)
    entry: dict[str, Any] = json.loads(line)
    assert (entry["event"], entry["level"], entry["path"]) == ("done", "info", "a\nb")
    assert entry["ts"].endswith("Z")


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_value_can_forge_a_line_for_those_who_end_one_elsewhere(
    capsys: pytest.CaptureFixture[str], end: str
) -> None:
    configure_logs("info", json=True)
    forged = f'done{end}{{"event": "paid"}}'
    structlog.get_logger("x").info("é", path=forged)
    write_held(past_log()(0.0, "é", {"path": forged}, ()))
    assert [json.loads(line)["path"] for line in written(capsys)] == [forged, forged]


@pytest.mark.parametrize("value", ["\udcff", 2**70, {1: 2}, {1: math.nan, 2: [-math.inf]}])
def test_whatever_is_logged_does_not_fail_who_logs_it(
    capsys: pytest.CaptureFixture[str], value: Any
) -> None:
    configure_logs("info", json=True)
    structlog.get_logger("x").info("done", thing=value)
    (line,) = written(capsys)
    assert orjson.loads(line)["event"] == "done"


def test_the_standard_library_s_log_goes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", json=True)
    logging.getLogger("some.library").warning("odd %s", "thing")
    logging.getLogger("some.library").info("chatter")
    (line,) = written(capsys)
    assert json.loads(line).items() >= {"event": "odd thing", "level": "warning"}.items()


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_past_is_logged_like_the_rest(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logs("info", json=as_json)
    said = "Bearer abcdefghijkl\nforged"
    write_held(past_log()(1.5, "run ended", {"run_id": "r", "error": said}, ["graph", said]))
    configure_logs("warning", json=as_json)
    write_held(past_log()(2.5, "run ended", {"run_id": "s"}, []))
    (line,) = written(capsys)
    assert "run ended" in line
    assert "abcdefghijkl" not in line
    assert HIDDEN in line
    if as_json:
        assert json.loads(line)["ts"] == "1970-01-01T00:00:01.500000Z"


def test_lines_that_are_held_are_written_together_in_their_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", json=True)
    log = structlog.get_logger("x")

    with lines_held() as held:
        for number in range(3):
            log.info("done", number=number)
        assert written(capsys) == []
        another = threading.Thread(target=log.info, args=("from elsewhere",))
        another.start()
        another.join()
        assert len(written(capsys)) == 1
    assert written(capsys) == []
    write_held(held)
    assert [json.loads(line)["number"] for line in written(capsys)] == [0, 1, 2]
    log.info("at once")
    assert len(written(capsys)) == 1


class Parts(io.StringIO):
    """A stream that knows what it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return super().write(text)


def test_a_line_is_written_at_once_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Parts()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("info", json=True)
    structlog.get_logger("x").info("began")
    logging.getLogger("x").warning("went on")
    told = [json.loads(part)["event"] for part in stream.parts if part.endswith("\n")]
    assert told == ["began", "went on"]
    assert len(stream.parts) == len(told)


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_below_the_level_is_not_written(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logs("warning", json=as_json)
    structlog.get_logger("x").info("chatter")
    assert written(capsys) == []


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_local_variables(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logs("info", json=as_json)
    try:
        fail()
    except ValueError:
        structlog.get_logger("x").exception("it failed")
    text = capsys.readouterr().err
    assert "ValueError" in text
    assert "broken after 6" in text
    assert "password = " not in text.replace('    password = "canary"  #', "")
    assert "'canary'" not in text


@pytest.mark.parametrize("forged", ["a\n2026-11-20 [info] forged", "a\rforged", "\x1b[2Jforged"])
def test_no_value_can_forge_a_line_for_people(
    capsys: pytest.CaptureFixture[str], forged: str
) -> None:
    configure_logs("info", json=False)
    structlog.get_logger("x").info("request", path=forged)
    logging.getLogger("some.library").warning(forged)
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 2
    assert "\x1b[2J" not in text


CANARY = "sk-canary-0123456789abcdef"


@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_is_written_whatever_way_it_takes(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logs("info", json=as_json, context=lambda: {"thread_id": CANARY})
    log = structlog.get_logger("x")
    log.info("calling with %s", CANARY, url=f"https://me:{CANARY}@host/", deep=[{"inner": CANARY}])
    log.info("by its key", password="hunter2", headers={"X-Api-Key": "hunter2"})
    logging.getLogger("some.library").warning("401 for %s", CANARY)
    logging.getLogger("some.library").warning("sent", extra={"api_key": CANARY})
    try:
        fail(f"bad key {CANARY}")
    except ValueError:
        log.exception("it failed")
        logging.getLogger("some.library").exception("it failed")
    text = capsys.readouterr().err
    assert "canary" not in text
    assert "hunter2" not in text
    assert text.count(HIDDEN) >= 8


@pytest.mark.parametrize(
    "said",
    [
        'Get "https://x/?token=canary": refused',
        'dsn "host=db password=canary"',
        "-----BEGIN RSA PRIVATE KEY-----\nMIIcanary",
        *(f"bad key:{sign}{CANARY}" for sign in ("\n", "\t", "\0", "\\", '"')),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_what_hides_a_secret_leaves_the_line_whole(
    capsys: pytest.CaptureFixture[str], as_json: bool, said: str
) -> None:
    configure_logs("info", json=as_json)
    log = structlog.get_logger("x")
    heard: list[str] = []
    with lines_heard_by(heard.append):
        log.info(said, value=said, deep=[{said: ValueError(said)}])
        write_held(past_log()(1.5, "run ended", {"error": said}, [said]))
        try:
            fail(said)
        except ValueError:
            log.exception("it failed")
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert len(lines) >= 3
    assert all(HIDDEN in line for line in (*heard, text))
    assert not any("canary" in line for line in (*heard, text))
    assert [json.loads(line)["level"] for line in heard] == ["info", "info", "error"]
    assert not as_json or lines == heard


def test_of_groups_of_errors_with_secrets_the_rest_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", json=True)
    error: Exception = ValueError(f"the innermost of {CANARY}")
    for _ in range(5):
        error = ExceptionGroup("several", [error])
    structlog.get_logger("x").error("it failed", exc_info=error)
    (line,) = written(capsys)
    assert f"the innermost of {HIDDEN}" in repr(json.loads(line))


def test_every_entry_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    about = {"run_id": "r1", "node": "plan"}
    configure_logs("info", json=True, context=lambda: about)
    structlog.get_logger("x").info("ours")
    logging.getLogger("some.library").warning("theirs")
    structlog.get_logger("x").info("its own", run_id="r2")
    entries = [json.loads(line) for line in written(capsys)]
    assert [entry["run_id"] for entry in entries] == ["r1", "r1", "r2"]
    assert {entry["node"] for entry in entries} == {"plan"}


@pytest.mark.parametrize("forged", ["a\n2026-11-20 [info] forged", "a\r2026 forged"])
def test_no_message_of_an_error_and_no_key_can_forge_a_line(
    capsys: pytest.CaptureFixture[str], forged: str
) -> None:
    configure_logs("info", json=False)
    log = structlog.get_logger("x")
    log.info("odd", **{forged: 1})
    try:
        fail(forged)
    except ValueError:
        log.exception("it failed")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(("2026-11-20", "2026 "))] == []
    assert len([line for line in lines if not line.startswith("    ")]) == 2
