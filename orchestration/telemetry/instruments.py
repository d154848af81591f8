"""Every metric that there is: its name, its unit, its labels, what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from operations.durations import BOUNDS

PREFIX = "masterloop_"
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # s
_LONG = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)  # s


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric. A counter's name ends in ``_total``; a histogram has buckets.

    ``read`` says that it is read at a scrape, and not counted from events.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = ()
    read: bool = False


def _counter(name: str, says: str, *labels: str) -> Instrument:
    return Instrument(PREFIX + name, "counter", says, labels)


def _gauge(name: str, says: str, *labels: str) -> Instrument:
    return Instrument(PREFIX + name, "gauge", says, labels, read=True)


def _tally(name: str, says: str, *labels: str) -> Instrument:
    """Return a counter that somebody else counts."""
    return Instrument(PREFIX + name, "counter", says, labels, read=True)


def _histogram(
    name: str, says: str, *labels: str, buckets: Sequence[float] = _SHORT, read: bool = False
) -> Instrument:
    return Instrument(PREFIX + name, "histogram", says, labels, buckets, read)


# Runs
RUNS_CREATED = _counter(
    "runs_created_total", "Runs that were accepted.", "assistant", "priority", "source"
)
RUNS_FINISHED = _counter("runs_finished_total", "Runs that ended.", "assistant", "status")
RUN_DURATION = _histogram(
    "run_duration_seconds", "Time of the last attempt at a run that ended.",
    "assistant", "status", buckets=_LONG,
)  # fmt: skip
RUN_QUEUE_WAIT = _histogram(
    "run_queue_wait_seconds", "Time from a run's arrival in the queue to an attempt at it.",
    "priority", buckets=_LONG,
)  # fmt: skip
RUN_ATTEMPTS = _counter("run_attempts_total", "Attempts at runs: first, or resumed.", "reason")
NODE_DURATION = _histogram(
    "node_duration_seconds", "Time of a node, where nodes are heard of.",
    "assistant", "node", buckets=_LONG,
)  # fmt: skip
RUNS_RECOVERED = _counter(
    "recovered_runs_total", "Unfinished runs taken up: found at a start, or cut off.", "cause"
)
LEASE_LOST = _counter("lease_lost_total", "Attempts whose run was no more theirs at their end.")
DEAD_LETTERS = _gauge("dead_letters", "Runs that were given up as too dangerous.", "reason")
RUNS_STOPPED = _counter("runs_stopped_total", "Working runs that were told to stop.", "reason")
RUNS_REQUEUED = _counter("runs_requeued_total", "Runs put back to go on after a drain.")
QUEUE_REJECTED = _counter("queue_rejected_total", "Submissions that were refused.", "reason")
ZOMBIES_LEFT = _counter(
    "zombies_left_total", "Runs, and tools and graphs of steps, that ignored their cancellation."
)
WRITE_FAILURES = _counter(
    "store_write_failures_total", "Writes of a run that the store could not make.", "reason"
)
# Storage
DB_OPERATION = _histogram(
    "db_operation_seconds", "Time of transactions, and of reads on a thread.",
    "op", buckets=BOUNDS, read=True,
)  # fmt: skip
DB_BUSY = _tally("db_busy_total", "Writes and reads that found the file locked for too long.")
# Queue and workers
QUEUE_DEPTH = _gauge("queue_depth", "Runs that wait, the delayed ones included.", "priority")
QUEUE_CAPACITY = _gauge("queue_capacity", "Runs that may wait.")
QUEUE_OLDEST_AGE = _gauge(
    "queue_oldest_age_seconds", "How long the oldest run that is due has waited.", "priority"
)
WORKERS_BUSY = _gauge("workers_busy", "Slots that are taken.")
WORKERS_LIMIT = _gauge("workers_limit", "Slots that there are.")
ZOMBIE_RUNS = _gauge("zombie_runs", "Tasks of ended runs that go on though cancelled.")
ZOMBIE_TOOLS = _gauge("zombie_tools", "Tools and graphs of steps that go on though cancelled.")
ABANDONED_THREADS = _gauge("abandoned_threads", "Threads that work on though nobody waits.")
EXECUTOR_QUEUE = _gauge("executor_queue_depth", "Calls of sync nodes that wait for a thread.")
WORKER_PROCESSES = _gauge("worker_processes", "Worker processes that can execute runs.")
WORKER_RESTARTS = _tally("worker_restarts_total", "Worker processes that ended and were replaced.")
LOOP_LAG = _histogram("event_loop_lag_seconds", "How late the event loop made a turn.")
LOOP_BLOCKED = _counter("event_loop_blocked_total", "Blocks of the event loop.")
# HTTP
HTTP_REQUESTS = _counter(
    "http_requests_total", "Requests that were answered.", "route", "method", "code"
)
HTTP_DURATION = _histogram(
    "http_request_duration_seconds", "Time until the whole answer was sent, a stream's too.",
    "route", "method", buckets=_LONG,
)  # fmt: skip
# Streams
STREAMS_OPEN = _gauge("streams_open", "Streams of events that are open.")
STREAMS_SLOW = _tally("stream_slow_closed_total", "Streams whose clients did not read.")
STREAMS_REPLAYED = _tally("stream_replayed_events_total", "Events given to who came late or back.")
# Agents
AGENTS = _gauge("agents", "Seats of a pool.", "pool", "state")
AGENT_LEASES_WAITING = _gauge("agent_leases_waiting", "Callers that wait for an agent.", "pool")
AGENT_START = _histogram(
    "agent_start_seconds", "Time that agents took to start.", "pool", buckets=_LONG
)
AGENT_START_FAILURES = _counter("agent_start_failures_total", "Starts that failed.", "pool")
AGENT_RESTARTS = _counter("agent_restarts_total", "Agents that were given up.", "pool")
AGENT_PROBE = _histogram("agent_probe_seconds", "Time that probes took.", "pool")
AGENT_PROBE_FAILURES = _counter("agent_probe_failures_total", "Probes that were missed.", "pool")
AGENT_LEASE_WAIT = _histogram(
    "agent_lease_wait_seconds", "Time that callers waited for an agent.", "pool", buckets=_LONG
)
AGENT_LEASES_REFUSED = _counter(
    "agent_leases_refused_total", "Callers that got no agent.", "pool", "reason"
)
AGENT_TASK = _histogram(
    "agent_task_seconds", "Time that agents worked on a task.", "pool", "result", buckets=_LONG
)
MESSAGES = _counter(
    "messages_total", "Messages: delivered, tried again, given up.", "mailbox", "result"
)
MAILBOX_DEPTH = _gauge("mailbox_depth_max", "Messages that wait in the fullest mailbox.")
# Telemetry of itself
TELEMETRY_WAITING = _gauge("telemetry_queue_depth", "Events that a sink has not taken.", "sink")
TELEMETRY_BUSY = _gauge(
    "telemetry_busy_seconds", "How long a sink has been at what it was given.", "sink"
)
TELEMETRY_DROPPED = _tally(
    "telemetry_dropped_total", "Events lost for want of room.", "sink", "importance"
)
TELEMETRY_FAILURES = _tally("telemetry_export_failures_total", "Times that a sink failed.", "sink")
TELEMETRY_DELIVERED = _gauge(
    "telemetry_last_export_success_timestamp_seconds", "When a sink last took something.", "sink"
)
TELEMETRY_RESTARTS = _tally("telemetry_restarts_total", "Deaths of the telemetry thread.")
TELEMETRY_SPILL = _gauge("telemetry_spill_bytes", "Size of the audit trail on the disk.")
LOG_LINES_LOST = _tally("log_lines_lost_total", "Lines of the log that nobody took.")
# Audit
AUDIT_EVENTS = _tally("audit_events_total", "Entries of the audit trail that are on the disk.")
AUDIT_LAG = _gauge("audit_lag_seconds", "How long the oldest entry has waited for the disk.")
AUDIT_FAILING = _gauge("audit_failing", "Whether the disk does not take the audit trail.")

# The service
BUILD_INFO = _gauge(
    "build_info", "Always 1; which versions work here.", "version", "python", "langgraph"
)
SHUTDOWN_PHASE = _gauge(
    "shutdown_phase", "0 while it works; then the number of the tier that stops, from 1 to 6."
)

ALL: tuple[Instrument, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Instrument)
)
