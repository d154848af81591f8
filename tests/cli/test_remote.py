"""The commands that talk to a service, against one that gives scripted answers."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestration.cli import app

THREAD, RUN = "01a1f930-0000-7000-8000-00000000000t", "01a1f930-0000-7000-8000-00000000000r"
HOME = f"/threads/{THREAD}/runs"
CREATED = {"Content-Location": f"{HOME}/{RUN}"}
SUCCESS = {"run_id": RUN, "thread_id": THREAD, "status": "success", "created_at": "2026-11-20"}
FAILED = {**SUCCESS, "status": "error"}
UNSENDABLE = ["1e999", "18446744073709551616", r'"\ud800"', "[" * 100_000 + "]" * 100_000]
THREADS = {"POST /threads": {"thread_id": THREAD}}


class Events(str):
    """A body that is a stream of events."""

    __slots__ = ()


class Unending(Events):
    """A stream of events that stays open until the service ends."""

    __slots__ = ()


class Refusal(dict[str, Any]):
    """A body that says no."""


class Service(BaseHTTPRequestHandler):
    """Answers from the server's table of ``METHOD path`` to body."""

    server: "Scripted"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        self.server.asked.append((f"{self.command} {path}", json.loads(body or "null")))
        answer = self.server.answers.get(
            f"{self.command} {path}", Refusal(status=404, detail="there is no such thing")
        )
        self.send_response(answer.get("status", 422) if isinstance(answer, Refusal) else 200)
        stream = isinstance(answer, Events)
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        if not isinstance(answer, Unending):
            self.send_header("Content-Length", str(len(content)))
        for name, value in CREATED.items() if "runs/" in path else ():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if isinstance(answer, Unending):
            self.wfile.flush()
            self.server.ending.wait()

    do_POST = do_GET  # noqa: N815 - the base class's name
    do_DELETE = do_GET  # noqa: N815 - the base class's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


class Scripted(ThreadingHTTPServer):
    """A service with a table of answers, that keeps what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Service)
        self.answers = {**THREADS, **answers}
        self.asked: list[tuple[str, Any]] = []
        self.ending = threading.Event()

    def masterloop(self, *arguments: str, text: str | None = None) -> Result:
        runner = CliRunner(env={"TERM": "dumb", "COLUMNS": "200"})
        url = f"http://127.0.0.1:{self.server_port}"
        return runner.invoke(app, [*arguments, "--url", url], input=text)


@contextmanager
def service(answers: dict[str, Any]) -> Iterator[Scripted]:
    with Scripted(answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


def events(*parts: tuple[str, Any]) -> Events:
    return Events("".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in parts))


def test_run_waits_and_prints_the_result() -> None:
    answers = {f"POST {HOME}/wait": {"answer": 42}, f"GET {HOME}/{RUN}": SUCCESS}
    with service(answers) as server:
        result = server.masterloop("run", "digest", '{"paths": []}')
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"answer": 42})
    assert f"run {RUN} on thread {THREAD}: success" in result.stderr
    submitted = dict(server.asked)[f"POST {HOME}/wait"]
    assert (submitted["assistant_id"], submitted["input"]) == ("digest", {"paths": []})


def test_run_takes_its_input_from_a_file_or_stdin(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"from": "file"}')
    answers = {f"POST {HOME}/wait": [1], f"GET {HOME}/{RUN}": SUCCESS}
    with service(answers) as server:
        server.masterloop("run", "digest", f"@{file}")
        result = server.masterloop("run", "digest", "-", "--json", text='{"from": "stdin"}')
    inputs = [body["input"]["from"] for path, body in server.asked if path.endswith("wait")]
    assert inputs == ["file", "stdin"]
    assert json.loads(result.stdout)["result"] == {"values": [1]}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "the input is not JSON"),
        ("@none.json", "none.json: No such"),
        ('{"n": NaN}', "the input is not JSON: NaN"),
        *[(text, "the input cannot be sent") for text in UNSENDABLE],
    ],
)
def test_an_input_that_cannot_be_read_ends_with_2(text: str, complaint: str) -> None:
    result = CliRunner().invoke(app, ["run", "digest", text])
    assert result.exit_code == 2
    assert complaint in result.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_run_that_failed_ends_with_1(more: list[str]) -> None:
    error = {"__error__": {"error": "ValueError", "message": "depth: 99"}}
    answers = {f"POST {HOME}/wait": error, f"GET {HOME}/{RUN}": FAILED}
    with service(answers) as server:
        result = server.masterloop("run", "crawler", "{}", "--thread", THREAD, *more)
    assert result.exit_code == 1
    assert "depth: 99" in result.output
    assert "POST /threads" not in dict(server.asked)


def test_follow_shows_progress_apart_from_the_result() -> None:
    stream = events(
        ("metadata", {"run_id": RUN}),
        ("values", {"n": 0}),
        ("custom", {"page": "a [b].md"}),
        ("updates", {"node": {"text": "x" * 200}}),
        ("values", {"n": 1}),
    )
    with service({f"POST {HOME}/stream": stream, f"GET {HOME}/{RUN}": SUCCESS}) as server:
        result = server.masterloop("run", "crawler", "--follow")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"n": 1})
    assert 'custom   {"page": "a [b].md"}\n' in result.stderr
    assert "xxx…\n" in result.stderr


@pytest.mark.parametrize("values", [4, "a text", [1], None])
def test_follow_takes_values_that_are_no_object_as_waiting_does(values: Any) -> None:
    stream = events(("values", values))
    with service({f"POST {HOME}/stream": stream, f"GET {HOME}/{RUN}": SUCCESS}) as server:
        result = server.masterloop("run", "adder", "--follow")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"values": values})


def test_follow_in_json_is_one_object_a_line() -> None:
    stream = events(("custom", {"page": "a"}), ("error", {"error": "E", "message": "m"}))
    with service({f"POST {HOME}/stream": stream, f"GET {HOME}/{RUN}": FAILED}) as server:
        result = server.masterloop("run", "crawler", "--follow", "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert told == [
        {"event": "custom", "data": {"page": "a"}},
        {
            "thread_id": THREAD,
            "run_id": RUN,
            "status": "error",
            "result": {"__error__": {"error": "E", "message": "m"}},
        },
    ]
    assert result.exit_code == 1


def test_a_run_that_waits_for_a_human_has_not_failed() -> None:
    stream = events(("updates", {"__interrupt__": [{"value": "Publish?"}]}))
    waiting = {**SUCCESS, "status": "interrupted"}
    with service({f"POST {HOME}/stream": stream, f"GET {HOME}/{RUN}": waiting}) as server:
        result = server.masterloop("run", "approval", "--follow")
    assert (result.exit_code, json.loads(result.stdout)["__interrupt__"]) == (
        0,
        [{"value": "Publish?"}],
    )


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_cancel_it() -> None:
    answers = {f"POST {HOME}/stream": Unending(events(("custom", {"page": "a"})))}
    with service(answers) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        with subprocess.Popen(
            [sys.executable, "-m", "orchestration", "run", "crawler", "--follow", "--url", url],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            assert "custom" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            try:
                said = process.communicate(timeout=30)[1]
            finally:
                process.kill()
    assert process.returncode == 130
    assert f"masterloop runs cancel {RUN} --thread {THREAD}" in said


def test_runs_ls_lists_those_of_all_threads_or_of_one_and_never_cuts_an_id() -> None:
    other = {**SUCCESS, "run_id": "later", "created_at": "2026-11-21"}
    with service({"GET /runs": [other, SUCCESS], f"GET {HOME}": [SUCCESS]}) as server:
        table = server.masterloop("runs", "ls", "--status", "success").stdout.splitlines()
        found = server.masterloop("runs", "ls", "--thread", THREAD, "--limit", "1", "--json")
    assert [row.split()[0] for row in table] == ["run_id", "later", RUN]
    assert [run["run_id"] for run in json.loads(found.stdout)] == [RUN]


def test_runs_ls_dead_lists_the_dead_letters() -> None:
    letter = {"run_id": RUN, "error": "it killed its worker 3 times"}
    with service({"GET /dead-letters": [letter]}) as server:
        shown = server.masterloop("runs", "ls", "--dead").stdout
        server.answers["GET /dead-letters"] = []
        none = server.masterloop("runs", "ls", "--dead")
    assert "it killed its worker 3 times" in shown
    assert (none.stdout, none.stderr) == ("", "There are none.\n")


def test_runs_get_needs_no_thread() -> None:
    with service({"GET /runs": [SUCCESS], f"GET {HOME}/{RUN}": SUCCESS}) as server:
        assert json.loads(server.masterloop("runs", "get", RUN).stdout) == SUCCESS
        named = server.masterloop("runs", "get", RUN, "--thread", THREAD, "--json")
        assert json.loads(named.stdout) == SUCCESS
        server.answers["GET /runs"] = []
        missing = server.masterloop("runs", "get", "none")
    assert (missing.exit_code, missing.stderr) == (1, "Error: there is no run none\n")


def test_runs_cancel_waits_and_says_how_it_ended() -> None:
    cancel, get = f"POST {HOME}/{RUN}/cancel", f"GET {HOME}/{RUN}"
    answers = {cancel: None, get: SUCCESS, "GET /runs": [SUCCESS]}
    with service(answers) as server:
        cancelled = server.masterloop("runs", "cancel", RUN, "--thread", THREAD, "--json")
        deleted = server.masterloop("runs", "cancel", RUN, "--rollback", "--json")
    assert json.loads(cancelled.stdout)["status"] == "success"  # it was faster
    assert json.loads(deleted.stdout)["status"] == "deleted"


@pytest.mark.parametrize(("run", "code"), [(SUCCESS, 0), (FAILED, 1)])
def test_runs_join_ends_as_the_run_did(run: dict[str, Any], code: int) -> None:
    answers = {
        f"GET {HOME}/{RUN}/join": {"n": 1},
        f"GET {HOME}/{RUN}": run,
        "GET /runs": [run],
    }
    with service(answers) as server:
        plain = server.masterloop("runs", "join", RUN)
        machine = server.masterloop("runs", "join", RUN, "--json")
    assert (plain.exit_code, json.loads(plain.stdout)) == (code, {"n": 1})
    assert json.loads(machine.stdout)["status"] == run["status"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Refusal(detail="there is no assistant 'nope'"), "there is no assistant 'nope'"),
        (Refusal(), "422 Unprocessable"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_service(answer: Refusal, reason: str) -> None:
    with service({f"POST {HOME}/wait": answer}) as server:
        result = server.masterloop("run", "nope")
    assert result.exit_code == 1
    assert reason in result.stderr


def test_without_a_service_the_error_names_the_url_and_the_command() -> None:
    with service({}) as server:
        url = f"http://127.0.0.1:{server.server_port}"
    result = CliRunner().invoke(app, ["runs", "ls", "--url", url])
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: no service answers at {url}. Start one with: masterloop dev\n",
    )


def test_what_answers_and_is_none_of_ours_is_told() -> None:
    with service({"GET /runs": Events("<html>")}) as server:
        result = server.masterloop("runs", "ls")
    assert result.exit_code == 1
    assert "is no Masterloop: its answer is not JSON" in result.stderr


def test_an_address_that_is_none_is_told() -> None:
    result = CliRunner().invoke(app, ["runs", "ls", "--url", "ftp://here"])
    assert result.exit_code == 1
    assert "the connection to ftp://here failed" in result.stderr


def test_who_has_no_key_is_told_where_it_goes() -> None:
    refusal = Refusal(status=401, detail="send an API key as x-api-key")
    with service({"GET /runs": refusal}) as server:
        result = server.masterloop("runs", "ls")
    assert result.exit_code == 1
    assert result.stderr.endswith("send an API key as x-api-key. Set MASTERLOOP_API_KEY to one\n")


@pytest.mark.parametrize("command", [["runs", "ls"], ["mcp", "--stdio"]])
@pytest.mark.parametrize("key", ["schlüssel", "ml_\udcff", "ml_\n"])
def test_a_key_that_no_header_carries_ends_with_2(
    command: list[str], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTERLOOP_API_KEY", key)
    with service({}) as server:
        result = server.masterloop(*command)
    assert (result.exit_code, server.asked) == (2, [])
    assert "Error: MASTERLOOP_API_KEY is no key" in result.stderr
    assert key not in result.stderr


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["run", "\udcff"], "the name of the assistant cannot be sent"),
        (["run", "digest", "--thread", "\udcff"], "an argument cannot be sent"),
        (["runs", "get", "\udcff"], "an argument cannot be sent"),
        (["agents", "ls", "\udcff"], "an argument cannot be sent"),
    ],
)
def test_an_argument_that_is_no_text_ends_with_2(command: list[str], complaint: str) -> None:
    with service({}) as server:
        result = server.masterloop(*command)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_workflow_that_json_does_not_carry_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    file.write_text(f'{{"name": "w", "steps": [{{"id": "a", "tool": "t", "input": {2**64}}}]}}')
    with service({}) as server:
        result = server.masterloop("workflow", "run", str(file))
    assert (result.exit_code, server.asked) == (2, [])
    assert f"Error: {file} cannot be sent" in result.stderr
