"""Where a request is from, when a proxy stands before the service."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from operations.telemetry.trail import FOLDER, read_trail
from tests.process.server import Server

BY_WAY_OF = {"x-forwarded-for": "192.0.2.66, 203.0.113.7", "x-forwarded-proto": "https"}
ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path)) as one:
        yield one


def addresses(server: Server) -> list[str]:
    """Delete what is not there by way of a proxy, stop, and return whom the trail names."""
    refused = server.http.delete(f"/threads/{ABSENT}", headers=BY_WAY_OF)
    assert refused.status_code == httpx.codes.NOT_FOUND
    server.stop()
    told = read_trail(server.data / FOLDER)
    return [entry["client"] for entry in told if entry["event"] == "Audited"]


def test_the_audit_names_who_called_a_trusted_proxy_and_not_what_they_say_of_themselves(
    server: Server,
) -> None:
    server.start(trusted_proxies="127.0.0.0/8, ::1")
    assert addresses(server) == ["203.0.113.7"]


def test_of_somebody_who_is_no_trusted_proxy_no_word_is_taken(server: Server) -> None:
    server.start(trusted_proxies="10.0.0.0/8")
    assert addresses(server) == ["127.0.0.1"]


def test_by_default_no_proxy_is_trusted_whatever_uvicorn_is_told(server: Server) -> None:
    server.start(FORWARDED_ALLOW_IPS="*")
    assert addresses(server) == ["127.0.0.1"]
