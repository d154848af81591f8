"""Metrics that are read, and those of what no run is: requests, streams, storage, the start."""

from pathlib import Path

from orchestration.graphs.steps import NodeEnded
from orchestration.loop.events import LeaseLost, RunsRecovered
from orchestration.telemetry.instruments import ALL
from orchestration.telemetry.metrics import Metrics
from tests.api.client import new_run, new_thread, open_client
from tests.telemetry.test_metrics import samples, scrape, told


def shown(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return samples(metrics.text().decode(), name)


async def test_every_metric_that_is_declared_is_described(tmp_path: Path) -> None:
    """Those of agents only where there are agents; of the others, there is always a value or 0."""
    pool = {"kind": "graph", "graph": "echo"}
    section = {"agents": {"one": pool}, "network": {"mailboxes": {"box": {"agent": "one"}}}}
    async with open_client(tmp_path, "echo", manifest={"masterloop": section}) as client:
        await client.post("/runs/wait", json={"assistant_id": "echo", "input": {}})
        text = await scrape(client)
    missing = {one.name for one in ALL if f"# HELP {one.name} " not in text}
    # There is nothing to show of these as long as nothing waits, or is lost.
    assert missing <= {
        "masterloop_queue_depth",
        "masterloop_queue_oldest_age_seconds",
        "masterloop_telemetry_dropped_total",
        "masterloop_telemetry_last_export_success_timestamp_seconds",
        "masterloop_worker_processes",
        "masterloop_worker_restarts_total",
    }


async def test_the_service_its_process_and_its_storage_are_shown(tmp_path: Path) -> None:
    async with open_client(tmp_path, "echo") as client:
        await new_thread(client)
        text = await scrape(client)
    ((version, _, python),) = samples(text, "masterloop_build_info")
    assert version
    assert python
    assert samples(text, "masterloop_shutdown_phase") == {(): 0}
    assert samples(text, "process_resident_memory_bytes")[()] > 10_000_000
    assert samples(text, "masterloop_db_operation_seconds_count")[("write",)] >= 1
    assert samples(text, "masterloop_db_operation_seconds_sum")[("write",)] > 0
    buckets = samples(text, "masterloop_db_operation_seconds_bucket")
    (last,) = [count for labels, count in buckets.items() if set(labels) == {"write", "+Inf"}]
    assert last == samples(text, "masterloop_db_operation_seconds_count")[("write",)]
    assert samples(text, "masterloop_db_busy_total") == {(): 0}
    assert samples(text, "masterloop_dead_letters") == {("poison",): 0}
    assert samples(text, "masterloop_mailbox_depth_max") == {(): 0}


async def test_requests_that_are_for_no_operation_are_counted_under_few_routes(
    tmp_path: Path,
) -> None:
    manifest = {"http": {"app": "tests.api.routes:app"}}
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        for number in range(20):
            await client.get(f"/unknown/{number}")
        await client.get("/hello")
        await client.get("/mounted/inner")
        await client.get("/a%2fb")
        requests: dict[tuple[str, ...], float] = {}
        while requests.get(("400", "GET", "nowhere")) != 1:
            requests = samples(await scrape(client), "masterloop_http_requests_total")
    assert requests["404", "GET", "nowhere"] == 20
    assert requests["200", "GET", "/hello"] == 1
    assert requests["200", "GET", "/mounted"] == 1


async def test_streams_are_counted_while_they_are_open_and_what_is_told_again(
    tmp_path: Path,
) -> None:
    async with open_client(tmp_path, "telling") as client:
        path = await new_run(client, await new_thread(client), "telling", 3, stream_resumable=True)
        await client.get(f"{path}/join")
        replay = await client.get(f"{path}/stream", headers={"last-event-id": "-1"})
        text = await scrape(client)
    events = replay.text.count("event:")
    assert events > 1
    assert samples(text, "masterloop_stream_replayed_events_total") == {(): events}
    assert samples(text, "masterloop_streams_open") == {(): 0}


def test_what_a_start_found_is_counted_by_why_it_had_not_ended() -> None:
    metrics = Metrics()
    metrics.take(told(RunsRecovered(3, 2, crashed=True), RunsRecovered(1, 1, crashed=False)))
    metrics.take(told(LeaseLost("r", "g")))
    assert shown(metrics, "masterloop_recovered_runs_total") == {
        ("waiting",): 4, ("crash",): 2, ("stop",): 1,
    }  # fmt: skip
    assert shown(metrics, "masterloop_lease_lost_total") == {(): 1}


def test_nodes_beyond_five_hundred_are_other_until_one_was_not_seen_for_an_hour() -> None:
    now = 0.0
    metrics = Metrics(clock=lambda: now)

    def end(graph: str, node: str) -> None:
        metrics.take(told(NodeEnded("r", graph, 1, None, node, 1, 0.5, None)))

    for number in range(600):
        end(f"graph-{number % 2}", f"node-{number}")
    seconds = shown(metrics, "masterloop_node_duration_seconds_count")
    assert len(seconds) == 502
    assert seconds["graph-0", "other"] == seconds["graph-1", "other"] == 50
    now = 3_600.0
    end("graph-0", "late")
    seconds = shown(metrics, "masterloop_node_duration_seconds_count")
    assert ("graph-0", "late") in seconds
    assert ("graph-0", "node-0") not in seconds
