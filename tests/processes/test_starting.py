"""Runs that come before there is a worker process to execute them."""

from pathlib import Path

import pytest

from tests.api.client import client_of, open_play
from tests.processes.stage import MANIFEST, Stage

pytestmark = pytest.mark.timeout(180)


async def test_a_run_waits_for_the_first_process_and_has_not_begun_before(tmp_path: Path) -> None:
    async with (
        open_play(tmp_path, manifest=MANIFEST, workers=1) as service,
        client_of(service.app) as client,
    ):
        stage = Stage(service, client, tmp_path)
        path = await stage.begin()
        early, place = await stage.get(path), await stage.get(f"{path}/why")
        assert service.loop.working == 0
        await stage.get(f"{path}/join")
        ended = await stage.get(path)
    assert (early["status"], ended["status"]) == ("pending", "success")
    assert "no worker process is there to execute it" in place.values()
