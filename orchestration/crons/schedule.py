"""When a cron is due: five fields, read in a time zone."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

LONGEST = 255  # characters of a schedule; so it is parsed in well under a millisecond
_FIELDS = "minute, hour, day of the month, month, day of the week"
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class BadSchedule(ValueError):
    """A schedule, or the time zone it is read in, says nothing that could ever be due."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression and its time zone.

    What is due at a time that a change to summer time skips is due at the end of the gap; what is
    due at a time that comes twice is due the first time. An expression that begins with ``*`` in
    its minutes or hours follows the time that passes, as Debian's cron does.
    """

    expression: str
    zone: tzinfo

    def after(self, moment: datetime, end: datetime | None = None) -> datetime | None:
        """Return the first time after ``moment``, in UTC.

        None if there is none before ``end``, or within 50 years.
        """
        for local in CronSim(self.expression, moment.astimezone(self.zone)):
            due = local.astimezone(UTC)
            if due > moment:  # within an hour that comes twice, it may be over already
                return due if end is None or due <= end else None
        return None


def parse_schedule(expression: str, zone: str | None) -> Schedule:
    """Return the schedule that ``expression`` is, in an IANA time zone or in UTC.

    Raises:
        BadSchedule: it is none, it is never due, or there is no such time zone.
    """
    found = Schedule(_expression(expression), _zone(zone))
    try:
        due = found.after(datetime.now(UTC))
    except CronSimError as error:
        raise BadSchedule("schedule", f"{error}; the fields are {_FIELDS}") from None
    if due is None:
        raise BadSchedule("schedule", "there is no such day: it would never be due")
    return found


def _expression(text: str) -> str:
    if len(text) > LONGEST or not text.isascii():
        raise BadSchedule("schedule", f"must be at most {LONGEST} characters of ASCII")
    expression = _NAMED.get(text.strip().lower(), text)
    fields = len(expression.split())
    if expression.lstrip().startswith("@"):
        raise BadSchedule("schedule", f"there is no such name; there are {', '.join(_NAMED)}")
    if fields != 5:  # noqa: PLR2004 - as `_FIELDS` has them
        raise BadSchedule("schedule", f"must have five fields ({_FIELDS}), found {fields}")
    return expression


def _zone(name: str | None) -> tzinfo:
    if name is None or name == "UTC":  # which needs no time zones on this machine
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = get_close_matches(name[:64], _zones(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        problem = f"there is no time zone {name[:64]!r}{hint}"
        raise BadSchedule("timezone", problem) from None


@cache
def _zones() -> frozenset[str]:
    """Return the names that this machine knows: reading them takes tens of milliseconds."""
    return frozenset(available_timezones())
