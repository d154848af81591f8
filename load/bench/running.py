"""A session: rounds of workloads, the peers of each in turn."""

import asyncio
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from load.bench.api import Api
from load.bench.environments import CannotInstall
from load.bench.marks import Marks, open_marks
from load.bench.pace import Pace
from load.bench.peers import Peer
from load.bench.results import Record, append
from load.bench.server import CannotStart, Server
from load.bench.workloads.bench import Bench, Measures
from load.bench.workloads.catalogue import Workload

LIMIT = 1_200.0  # seconds for one measurement


@dataclass(slots=True)
class Session:
    """What is measured in one go, and written down as it is."""

    file: Path
    pace: Pace
    facts: Mapping[str, Any]
    began: str
    _versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, peers: Sequence[Peer], workloads: Sequence[Workload], rounds: int) -> None:
        """Measure; a peer that cannot be installed or started is written down as such."""
        left = [peer for peer in peers if self._installed(peer, workloads)]
        with open_marks() as marks:
            for number in range(rounds):
                for workload in workloads:
                    # Every other round the other way round, so that none is always the first.
                    for peer in left[:: -1 if number % 2 else 1]:
                        most = min(peer.rounds, workload.rounds)
                        if self._concerns(workload, peer) and number < most:
                            self._measure(marks, number, workload, peer, left)

    @staticmethod
    def _concerns(workload: Workload, peer: Peer) -> bool:
        named = not workload.only or peer.name in workload.only
        return named and workload.name not in peer.leaves_out

    def _installed(self, peer: Peer, workloads: Sequence[Workload]) -> bool:
        try:
            peer.environment.make()
            self._versions[peer.name] = peer.environment.versions()
        except CannotInstall as error:
            self._write(0, workloads[0], peer, failed=f"cannot be installed: {error}")
            return False
        return True

    def _measure(
        self, marks: Marks, number: int, workload: Workload, peer: Peer, left: list[Peer]
    ) -> None:
        server = Server(peer, workload.name, marks.file)
        print(f"round {number + 1}, {workload.name}, {peer.name}:", end=" ", flush=True)
        began = time.perf_counter()
        bench = Bench(
            server=server,
            marks=marks,
            api=Api(server.port, stateless=peer.stateless),
            pace=self.pace,
        )
        try:
            if workload.served:
                server.start()
            measures = uvloop.run(self._measured(bench, workload))
        except CannotStart as error:
            left.remove(peer)
            self._write(number, workload, peer, failed=f"cannot be started: {error}")
        except Exception as error:  # noqa: BLE001 - the others are measured all the same
            traceback.print_exc()
            self._write(number, workload, peer, failed=f"failed: {error!r}")
        else:
            self._write(number, workload, peer, bench=bench, measures=measures)
        finally:
            server.close()
            print(f"{time.perf_counter() - began:.1f} s", flush=True)

    @staticmethod
    async def _measured(bench: Bench, workload: Workload) -> Measures:
        try:
            async with asyncio.timeout(LIMIT):
                return await workload.measure(bench)
        finally:
            bench.api.close()

    def _write(
        self,
        number: int,
        workload: Workload,
        peer: Peer,
        *,
        bench: Bench | None = None,
        measures: Measures | None = None,
        failed: str = "",
    ) -> None:
        found = {name: round(value, 4) for name, value in (measures or {}).items()}
        if failed or (bench and bench.errors):
            print(failed or f"errors ({bench.errors if bench else 0})", end=", ", flush=True)
        append(
            self.file,
            Record(
                session=self.began,
                round=number,
                peer=peer.name,
                workload=workload.name,
                measures=found,
                errors=bench.errors if bench else 0,
                samples=bench.samples if bench else [],
                others=round(bench.others, 3) if bench else 0.0,
                versions=self._versions.get(peer.name, {}),
                facts=self.facts,
                failed=failed,
            ),
        )
