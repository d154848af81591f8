"""The dashboard and the alerts ask for metrics that there are; a real Prometheus scrapes them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from orchestration.telemetry.instruments import ALL
from tests.agents.kinds import free_port
from tests.api.client import open_socket

FOLDER = Path(__file__).parent.parent.parent / "operations/dashboards"
ALERTS = FOLDER / "alerts.yml"
PROMETHEUS = shutil.which("prometheus")
METRIC = re.compile(r"\bmasterloop_\w+")
LABELS = re.compile(r"(?:by \(([^)]*)\)|\{(\w+)=)")


def exported() -> set[str]:
    return {
        name
        for one in ALL
        for name in (
            [f"{one.name}_bucket", f"{one.name}_sum", f"{one.name}_count"]
            if one.kind == "histogram"
            else [one.name]
        )
    }


def queries() -> list[str]:
    board = json.loads((FOLDER / "masterloop.json").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    alerts = [json.loads(one) for one in re.findall(r"expr: (.*)", ALERTS.read_text())]
    assert len(shown) > 20
    assert len(alerts) > 5
    return [*shown, *alerts]


@pytest.mark.parametrize("query", queries())
def test_a_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    asked = set(METRIC.findall(query))
    assert asked
    assert asked <= exported()
    known = {label for one in ALL if any(name.startswith(one.name) for name in asked)
             for label in one.labels} | {"le"}  # fmt: skip
    for listed, named in LABELS.findall(query):
        assert set(re.findall(r"\w+", listed or named)) <= known


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.skipif(PROMETHEUS is None, reason="there is no prometheus here: apt-get install it")
async def test_a_real_prometheus_scrapes_the_service_and_takes_the_rules(tmp_path: Path) -> None:
    async with open_socket(tmp_path, "echo") as (_, client):
        target = f"{client.base_url.host}:{client.base_url.port}"
        config = tmp_path / "prometheus.yml"
        scrape = {
            "job_name": "masterloop",
            "scrape_interval": "1s",
            "static_configs": [{"targets": [target]}],
        }
        config.write_text(json.dumps({"rule_files": [str(ALERTS)], "scrape_configs": [scrape]}))
        port = free_port()
        prometheus = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment
            [
                str(PROMETHEUS),
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'db'}",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
            ]
        )  # fmt: skip
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as asking:
                found: list[str] = []

                async def scraped() -> bool:
                    query = {"query": "masterloop_queue_capacity"}
                    try:
                        answer = await asking.get("/api/v1/query", params=query)
                    except httpx.TransportError:
                        return False
                    if answer.is_success:
                        found[:] = [one["value"][1] for one in answer.json()["data"]["result"]]
                    return bool(found)

                while not await scraped():
                    assert prometheus.poll() is None
                rules = (await asking.get("/api/v1/rules")).json()["data"]["groups"]
        finally:
            prometheus.kill()
            prometheus.wait()
    assert found == ["10000"]
    assert len(rules[0]["rules"]) > 5
