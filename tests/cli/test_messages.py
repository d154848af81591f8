"""``masterloop messages``, against a service that gives scripted answers."""

import json
from typing import Any

import pytest

from tests.cli.test_remote import UNSENDABLE, Refusal, service

BOX = {"mailbox": "post", "pending": 3, "in_flight": 1, "delivered": 9, "dead": 2, "trouble": None}
DEAD = {
    "offset": 7,
    "id": "a",
    "sender": "graph:teller",
    "status": "dead",
    "priority": 5,
    "sent_at": "2026-01-01",
    "failures": 3,
    "last_error": "TaskFailed: no\nmore",
    "content": 1,
}


def test_ls_lists_the_mailboxes_or_the_messages_of_one() -> None:
    with service({"GET /messages": [BOX], "GET /messages/post": [DEAD]}) as server:
        head, row = server.masterloop("messages", "ls").stdout.splitlines()
        messages = server.masterloop("messages", "ls", "post").stdout.splitlines()
        found = json.loads(server.masterloop("messages", "ls", "--json").stdout)
    assert head.split() == ["mailbox", "pending", "in_flight", "delivered", "dead"]
    assert row.split() == ["post", "3", "1", "9", "2"]
    assert messages[1].split() == [
        "7", "a", "graph:teller", "dead", "5", "2026-01-01", "3", "TaskFailed:", "no",
    ]  # fmt: skip
    assert found == [BOX]


def test_send_says_where_the_message_is() -> None:
    receipt: dict[str, Any] = {
        "id": "a",
        "sender": "client",
        "offsets": {"post": 7},
        "duplicate": True,
    }
    with service({"POST /messages": receipt}) as server:
        said = server.masterloop("messages", "send", "post", "not json", "--id", "a").stdout
        found = json.loads(server.masterloop("messages", "send", "post", "1", "--json").stdout)
    assert said == "post: a at 7 (it was sent before)\n"
    assert found == receipt


@pytest.mark.parametrize("content", ["NaN", '{"n": Infinity}', "{"])
def test_what_is_not_json_is_sent_as_a_text(content: str) -> None:
    receipt = {"id": "[/x]", "offsets": {"post": 7}, "duplicate": False}
    with service({"POST /messages": receipt}) as server:
        result = server.masterloop("messages", "send", "post", content, "--id", "[/x]")
        ((_, sent),) = server.asked
    assert (sent["content"], sent["id"]) == (content, "[/x]")
    assert (result.exit_code, result.stdout) == (0, "post: [/x] at 7\n")


@pytest.mark.parametrize(
    "arguments", [*([text] for text in UNSENDABLE), ["half \udcff"], ["1", "--ttl", "nan"]]
)
def test_what_cannot_be_sent_is_not_sent_as_something_else(arguments: list[str]) -> None:
    with service({}) as server:
        result = server.masterloop("messages", "send", "post", *arguments)
    assert (result.exit_code, "cannot be sent" in result.stderr, server.asked) == (2, True, [])


def test_dead_letters_are_listed_and_requeued() -> None:
    answers = {
        "GET /messages/post/dead-letters": [DEAD],
        "POST /messages/post/dead-letters/requeue": {"requeued": 1},
    }
    with service(answers) as server:
        assert "TaskFailed: no" in server.masterloop("messages", "dead", "post").stdout
        assert server.masterloop("messages", "requeue", "post", "7").stdout == "1 requeued\n"
        found = json.loads(server.masterloop("messages", "requeue", "post", "--json").stdout)
    assert found == {"requeued": 1}


def test_where_there_are_none_it_says_so() -> None:
    with service({"GET /messages/post/dead-letters": []}) as server:
        result = server.masterloop("messages", "dead", "post")
    assert (result.stdout, result.stderr) == ("", "There are none.\n")


def test_a_full_mailbox_is_told_in_the_words_of_the_service() -> None:
    refusal = Refusal(detail="the mailbox 'post' is full: 3 messages wait in it")
    with service({"POST /messages": refusal}) as server:
        result = server.masterloop("messages", "send", "post", "1")
    assert (result.exit_code, "is full" in result.stderr) == (1, True)


def test_forget_asks_for_the_end_of_what_a_mailbox_has() -> None:
    with service({"DELETE /messages/gone": {}}) as server:
        assert server.masterloop("messages", "forget", "gone").stdout == "gone: forgotten\n"
        result = server.masterloop("messages", "forget", "post")
    assert result.exit_code == 1
