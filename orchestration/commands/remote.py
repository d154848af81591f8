"""A running service, as the commands see it: a client, and errors in one sentence."""

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import orjson
import typer

from operations.ports import DEFAULT_PORT
from orchestration.commands.terminal import MISUSED, give_up

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx
    from langgraph_sdk.client import SyncLangGraphClient

CONNECT_TIMEOUT = 5.0  # seconds; waiting for a run has no limit
_NO_KEY = 401

Url = Annotated[str, typer.Option(envvar="LANGGRAPH_API_URL", help="Where the service answers.")]
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


@contextmanager
def service_at(url: str) -> "Generator[SyncLangGraphClient]":
    """Open a client; what goes wrong while it is used ends the command with exit code 1.

    ``MASTERLOOP_API_KEY`` is sent if it is set. Built by hand, because ``get_sync_client`` takes
    seven seconds to see that nobody is there, and sends whatever other keys it finds.
    """
    import httpx  # noqa: PLC0415 - slow
    from langgraph_sdk.client import SyncLangGraphClient  # noqa: PLC0415 - slow

    timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT)
    headers = key_headers()
    try:
        http = httpx.Client(base_url=url, timeout=timeout, headers=headers)
        with SyncLangGraphClient(http) as client:
            yield client
    except httpx.HTTPStatusError as error:
        wanted = ". Set MASTERLOOP_API_KEY to one" if error.response.status_code == _NO_KEY else ""
        give_up(f"{url} says: {_reason(error)}{wanted}")
    except (httpx.ConnectError, httpx.ConnectTimeout):
        give_up(f"no service answers at {url}. Start one with: masterloop dev")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        give_up(f"the connection to {url} failed: {str(error) or type(error).__name__}")
    except UnicodeEncodeError:  # a URL, or a part of one, as the shell gave it
        give_up("an argument cannot be sent: it is not text in UTF-8", MISUSED)
    except orjson.JSONDecodeError:
        give_up(f"what answers at {url} is no Masterloop: its answer is not JSON")


def key_headers() -> dict[str, str] | None:
    """Return the header with the key of ``MASTERLOOP_API_KEY``, None if it is not set.

    One that no header carries ends the command with exit code 2.
    """
    key = os.environ.get("MASTERLOOP_API_KEY")
    if not key:
        return None
    if not (key.isascii() and key.isprintable()):
        give_up("MASTERLOOP_API_KEY is no key: it has more than the characters of ASCII", MISUSED)
    return {"x-api-key": key}


def read_json(text: str) -> Any:
    """Return the value of a JSON text; one that is too deep ends the command with exit code 2.

    Raises:
        ValueError: it is none, as one with NaN.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        _cannot_be_sent()


def sendable(value: Any, what: object = "the input") -> Any:
    """Return ``value``, if it arrives as it is; else end the command with exit code 2."""
    try:
        arrives = orjson.loads(orjson.dumps(value)) == value
    except TypeError:  # a number beyond 64 bits, half a surrogate pair, too many levels
        arrives = False
    if not arrives:
        _cannot_be_sent(what)
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _cannot_be_sent(what: object = "the input") -> NoReturn:
    why = "it is too deep, or has a number or a text that JSON does not carry"
    give_up(f"{what} cannot be sent: {why}", MISUSED)


def _reason(error: "httpx.HTTPStatusError") -> str:
    from langgraph_sdk.errors import APIError  # noqa: PLC0415 - slow

    if isinstance(error, APIError):
        return error.message
    # Where the SDK may reconnect, it raises httpx's own, which does not read the answer.
    try:
        return str(error.response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{error.response.status_code} {error.response.reason_phrase}"
