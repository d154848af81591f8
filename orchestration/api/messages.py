"""Messages: sent, looked at, given up, put back; and the mailboxes that they are in."""

import sqlite3
from collections.abc import Collection
from http import HTTPStatus
from typing import Any, get_args

import orjson
from starlette.responses import Response

from agents.network.delivery import Delivery
from agents.network.message import Draft, Origin, sender_of
from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.endpoint import Call, Endpoints, json_response, no_content
from orchestration.api.message_models import (
    DeadLetterList,
    MessageList,
    MessageSend,
    Replay,
    Requeue,
    Status,
)
from orchestration.api.problems import Problem

endpoint = Endpoints()

# LangGraph's authorisation has no word for messages: who may begin a run may send one.
_SEND = Access("threads", "create_run")
_LOOK = Access("threads", "search")
_FORGET = Access("threads", "delete")

_NOBODYS: dict[str, Any] = {
    "agent": None,
    "topics": (),
    "capacity": None,
    "full": None,
    "in_flight": 0,
    "trouble": "it is not configured: nobody receives",
}


@endpoint(
    "POST",
    "/messages",
    access=_SEND,
    body=MessageSend,
    gives={202: answers.MessageReceipt},
    refuses=(404, 503),
)
async def send_message(call: Call, body: MessageSend) -> Response:
    """Send a message; it is durable once this is answered, and delivered after that."""
    draft = Draft(
        content=body.content,
        to=body.to,
        topic=body.topic,
        message_id=body.id,
        priority=body.priority,
        ttl=body.ttl,
        correlation_id=body.correlation_id,
    )
    receipt = await call.backend.network.send(draft, _origin(call))
    document = {
        "id": receipt.message_id,
        "sender": receipt.sender,
        "offsets": receipt.offsets,
        "duplicate": receipt.duplicate,
    }
    return json_response(document, HTTPStatus.ACCEPTED)


@endpoint("GET", "/messages", access=_LOOK, gives=list[answers.Mailbox])
async def list_mailboxes(call: Call) -> Response:
    """List the mailboxes with their messages, counted now; also of those that were configured."""
    counts = await call.backend.messages.counts(call.visible)
    network = call.backend.network
    left = sorted({name for name, _ in counts if name not in network})
    return json_response(
        [
            *(_mailbox(delivery.name, counts, delivery) for delivery in network),
            *(_mailbox(name, counts) for name in left),
        ]
    )


@endpoint(
    "GET", "/messages/{mailbox}", access=_LOOK, query=MessageList, gives=list[answers.Message]
)
async def list_messages(call: Call, query: MessageList) -> Response:
    """List the messages of a mailbox beyond an offset, in their order; nothing is taken out."""
    return await _page(call, query.after, query.limit, query.status)


@endpoint("DELETE", "/messages/{mailbox}", access=_FORGET, gives=None, refuses=(409,), audited=True)
async def forget_messages(call: Call) -> Response:
    """Forget the messages of a mailbox that is not configured any more."""
    name = _name(call)
    if name in call.backend.network:
        detail = f"the mailbox {name!r} is configured: its messages are received, and expire"
        raise Problem(HTTPStatus.CONFLICT, detail)
    await call.backend.messages.forget(name, call.visible)
    return no_content()


@endpoint(
    "GET",
    "/messages/{mailbox}/dead-letters",
    access=_LOOK,
    query=DeadLetterList,
    gives=list[answers.Message],
)
async def list_dead_messages(call: Call, query: DeadLetterList) -> Response:
    """List the messages of a mailbox that were tried too often."""
    return await _page(call, query.after, query.limit, "dead")


@endpoint(
    "POST",
    "/messages/{mailbox}/dead-letters/requeue",
    access=_SEND,
    body=Requeue,
    optional_body=True,
    gives=answers.Requeued,
    audited=True,
)
async def requeue_messages(call: Call, body: Requeue) -> Response:
    """Have dead letters delivered again, oldest first, as many as there is room for."""
    return await _revive(call, "dead", offsets=body.offsets)


@endpoint(
    "POST",
    "/messages/{mailbox}/replay",
    access=_SEND,
    body=Replay,
    optional_body=True,
    gives=answers.Requeued,
    audited=True,
)
async def replay_messages(call: Call, body: Replay) -> Response:
    """Have what was delivered delivered again, from an offset on, as much as there is room for."""
    return await _revive(call, "delivered", after=body.after)


def _origin(call: Call) -> Origin:
    if call.backend.authority is None:
        return Origin(sender="client")
    sender = sender_of("user", call.principal.identity)
    return Origin(sender=sender, metadata=call.stamped(None), namespace=call.grant.namespace)


def _name(call: Call) -> str:
    """Return the mailbox; one that is not configured any more is there while it has messages."""
    name = call.path("mailbox")
    return name if call.backend.messages.holds(name) else call.backend.network[name].name


async def _page(call: Call, after: int, limit: int, status: str | None) -> Response:
    rows = await call.backend.messages.page(
        _name(call), after=after, limit=limit, status=status, visible=call.visible
    )
    return json_response([_document(row) for row in rows])


async def _revive(
    call: Call, status: str, *, after: int = 0, offsets: Collection[int] | None = None
) -> Response:
    delivery = call.backend.network[call.path("mailbox")]
    revived = call.backend.messages.revive(
        delivery.name,
        status,
        capacity=delivery.section.capacity,
        after=after,
        offsets=offsets,
        visible=call.visible,
    )
    requeued = 0
    async for sender, rank in revived:
        delivery.arrived(sender, rank)
        requeued += 1
    return json_response({"requeued": requeued})


def _document(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["message_id"],
        "offset": row["number"],
        "mailbox": row["mailbox"],
        "sender": row["sender"],
        "topic": row["topic"],
        "correlation_id": row["correlation_id"],
        "priority": row["priority"],
        "hops": row["hops"],
        "content": orjson.Fragment(row["content"]),
        "sent_at": row["sent_at"],
        "expires_at": row["expires_at"],
        "status": row["status"],
        "failures": row["attempts"],
        "next_attempt_at": row["due_at"],
        "ended_at": row["ended_at"],
        "last_error": row["error"],
    }


def _mailbox(name: str, counts: Any, delivery: Delivery | None = None) -> dict[str, Any]:
    def count(status: str) -> int:
        row = counts.get((name, status))
        return 0 if row is None else row["messages"]

    pending = counts.get((name, "pending"))
    return {
        "mailbox": name,
        **(_NOBODYS if delivery is None else _configured(delivery)),
        **{status: count(status) for status in get_args(Status)},
        "oldest_pending": None if pending is None else pending["oldest"],
    }


def _configured(delivery: Delivery) -> dict[str, Any]:
    return {
        "agent": delivery.capability,
        "topics": delivery.section.topics,
        "capacity": delivery.section.capacity,
        "full": delivery.section.full,
        "in_flight": delivery.in_flight,
        "trouble": delivery.trouble,
    }
