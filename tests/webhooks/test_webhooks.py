"""Webhooks as clients of the service meet them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from operations.errors import ConfigurationError
from tests.api.client import open_client, open_play
from tests.operations.receiver import Receiver, answer

LOCAL = {"webhooks": {"url": {"require_https": False, "disable_loopback": False}}}
PATHS = ["/runs", "/runs/wait", "/runs/stream"]


def echo(webhook: str) -> dict[str, Any]:
    return {"assistant_id": "echo", "input": {"text": "x"}, "webhook": webhook}


@pytest.mark.parametrize("path", PATHS)
async def test_a_run_without_a_thread_tells_its_output(tmp_path: Path, path: str) -> None:
    async with (
        Receiver.open() as receiver,
        open_client(tmp_path, "echo", manifest=LOCAL) as client,
    ):
        await client.post(path, json=echo(receiver.url))
        (request,) = await receiver.arrived(1)
        document = json.loads(request.body)
        assert (document["status"], document["values"]["text"]) == ("success", "x")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("url", ["http://127.0.0.1/", "/hook", "file:///etc/passwd", ""])
async def test_a_webhook_that_leads_inside_is_refused(tmp_path: Path, path: str, url: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        response = await client.post(path, json=echo(url))
        (error,) = response.json()["errors"]
        assert (response.status_code, error["pointer"]) == (422, "/webhook")


async def test_the_log_shows_a_delivery_and_not_the_query_of_its_url(tmp_path: Path) -> None:
    async with (
        Receiver.open() as receiver,
        open_client(tmp_path, "echo", manifest=LOCAL) as client,
    ):
        run = (await client.post("/runs", json=echo(f"{receiver.url}?token=abc"))).json()
        await receiver.arrived(1)
        response = await client.get("/webhooks/deliveries", params={"run_id": run["run_id"]})
        (delivery,) = response.json()
        assert (delivery["run_id"], delivery["url"]) == (run["run_id"], receiver.url)
        assert "token" not in response.text


async def test_the_log_forgets_what_failed_over_a_week_ago(tmp_path: Path) -> None:
    async with (
        Receiver.open(answer(410)) as receiver,
        open_client(tmp_path, "echo", manifest=LOCAL) as client,
    ):
        await client.post("/runs/wait", json=echo(receiver.url))
        while (await client.get("/webhooks/deliveries")).json()[0]["status"] == "pending":
            pass
    with closing(sqlite3.connect(tmp_path / "data" / "masterloop.db")) as database, database:
        database.execute("UPDATE webhook_deliveries SET created_at = '2026-01-01T00:00:00+00:00'")
    async with open_client(tmp_path, "echo", manifest=LOCAL) as client:
        while (await client.get("/webhooks/deliveries")).json():
            pass


@pytest.mark.parametrize("query", ["run_id=x", "limit=0", "offset=-1"])
async def test_a_page_of_the_log_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    async with open_client(tmp_path, "echo") as client:
        assert (await client.get(f"/webhooks/deliveries?{query}")).status_code == 422


async def test_disabled_webhooks_let_the_run_be_and_tell_nobody(tmp_path: Path) -> None:
    disabled = {**LOCAL, "http": {"disable_webhooks": True}}
    async with (
        Receiver.open() as receiver,
        open_client(tmp_path, "echo", manifest=disabled) as client,
    ):
        response = await client.post("/runs/wait", json=echo(receiver.url))
        log = await client.get("/webhooks/deliveries")
        assert (response.status_code, log.status_code, receiver.requests) == (200, 404, [])


async def test_deliveries_are_signed_with_the_secret_of_the_settings(tmp_path: Path) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    async with (
        Receiver.open() as receiver,
        open_client(tmp_path, "echo", manifest=LOCAL, webhook_secret=secret) as client,
    ):
        await client.post("/runs/wait", json=echo(receiver.url))
        (request,) = await receiver.arrived(1)
        assert request.headers["webhook-signature"].startswith("v1,")


async def test_a_secret_that_is_none_keeps_the_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MASTERLOOP_WEBHOOK_SECRET"):
        async with open_play(tmp_path, "echo", webhook_secret="hunter2"):
            pass
