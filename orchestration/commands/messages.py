"""``masterloop messages``: send messages, look at mailboxes, put dead letters back, forget."""

from typing import Annotated, Any

import typer

from orchestration.commands.remote import DEFAULT_URL, Url, read_json, sendable, service_at
from orchestration.commands.terminal import Json, as_json, console, print_found

MAILBOXES = ("mailbox", "pending", "in_flight", "delivered", "dead", "oldest_pending", "trouble")
MESSAGES = ("offset", "id", "sender", "status", "priority", "sent_at", "failures", "last_error")

app = typer.Typer(
    help="Send messages, look at mailboxes, put dead letters back.", no_args_is_help=True
)

Mailbox = Annotated[str, typer.Argument(metavar="MAILBOX", help="The name of the mailbox.")]
After = Annotated[int, typer.Option(min=0, help="Only those beyond this offset.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000, help="How many, at most.")]


@app.command("send")
def send_message(
    *,
    to: Annotated[str, typer.Argument(metavar="MAILBOX", help="The mailbox, or the topic.")],
    content: Annotated[str, typer.Argument(help="JSON; what is none is sent as a text.")],
    topic: Annotated[bool, typer.Option("--topic", help="To all mailboxes of a topic.")] = False,
    message_id: Annotated[
        str | None, typer.Option("--id", help="What it is known by, if it is sent again.")
    ] = None,
    priority: Annotated[int, typer.Option(min=0, max=10, help="0 goes first.")] = 5,
    ttl: Annotated[
        float | None, typer.Option(help="Seconds for which it is worth delivering.")
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Send a message."""
    body = {
        "topic" if topic else "to": to,
        "content": _parsed(content),
        "id": message_id,
        "priority": priority,
        "ttl": ttl,
    }
    with service_at(url) as client:
        receipt: Any = client.http.post("/messages", json=sendable(body))
    if json:
        typer.echo(as_json(receipt))
        return
    again = " (it was sent before)" if receipt["duplicate"] else ""
    for mailbox, offset in receipt["offsets"].items():
        console().print(f"{mailbox}: {receipt['id']} at {offset}{again}", markup=False)


@app.command("ls")
def list_messages(
    *,
    mailbox: Annotated[
        str | None, typer.Argument(metavar="[MAILBOX]", help="Its messages, not all mailboxes.")
    ] = None,
    after: After = 0,
    limit: Limit = 100,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the mailboxes, or the messages of one."""
    with service_at(url) as client:
        if mailbox is None:
            print_found(client.http.get("/messages"), MAILBOXES, json=json)
        else:
            page = {"after": after, "limit": limit}
            found = client.http.get(f"/messages/{mailbox}", params=page)
            print_found(found, MESSAGES, json=json)


@app.command("dead")
def list_dead_letters(
    *,
    mailbox: Mailbox,
    after: After = 0,
    limit: Limit = 100,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the dead letters of a mailbox: messages that were tried too often."""
    with service_at(url) as client:
        page = {"after": after, "limit": limit}
        found: Any = client.http.get(f"/messages/{mailbox}/dead-letters", params=page)
    print_found(found, MESSAGES, json=json)


@app.command("requeue")
def requeue_dead_letters(
    *,
    mailbox: Mailbox,
    offsets: Annotated[
        list[int] | None, typer.Argument(metavar="[OFFSET]...", help="Which.", show_default="all")
    ] = None,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Have dead letters delivered again."""
    with service_at(url) as client:
        path = f"/messages/{mailbox}/dead-letters/requeue"
        answer: Any = client.http.post(path, json={"offsets": offsets or None})
    if json:
        typer.echo(as_json(answer))
    else:
        console().print(f"{answer['requeued']} requeued")


@app.command("forget")
def forget_messages(*, mailbox: Mailbox, url: Url = DEFAULT_URL) -> None:
    """Forget the messages of a mailbox that is not configured any more."""
    with service_at(url) as client:
        client.http.delete(f"/messages/{mailbox}")
    console().print(f"{mailbox}: forgotten", markup=False)


def _parsed(content: str) -> Any:
    try:
        return read_json(content)
    except ValueError:
        return content
