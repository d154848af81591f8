"""What the coordinator decided and why, and the experience that it decides by."""

import sqlite3
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from coordinator.history import Option, Record
from operations.clock import iso
from orchestration.api import decision_answers as answers
from orchestration.api.access import SOMEBODY, Access
from orchestration.api.asked import Query
from orchestration.api.endpoint import Call, Endpoints, json_response
from orchestration.api.fields import Limit, Offset
from orchestration.store.visibility import sees

endpoint = Endpoints()

Name = Annotated[str, Field(max_length=255)]


class DecisionList(Query):
    """Which of the last decisions."""

    workflow: Name | None = None
    run_id: Name | None = None
    step: Name | None = None
    limit: Limit = 100


class ExperienceOf(Query):
    """Experience of a workflow as a whole, or of one of its steps."""

    workflow: Name
    step: Name | None = None
    limit: Limit = 10


class ExperienceList(Query):
    """Which results, by their numbers."""

    after: Offset = 0
    limit: Limit = 100


@endpoint(
    "GET",
    "/coordinator/decisions",
    # LangGraph's authorisation has no word for decisions: who finds threads finds theirs.
    access=Access("threads", "search"),
    query=DecisionList,
    gives=list[answers.Decision],
)
async def list_decisions(call: Call, query: DecisionList) -> Response:
    """List the last decisions, newest first: what was chosen, from what, and why."""
    found = [record for record in call.backend.decisions.latest() if _asked(call, query, record)]
    return json_response([_document(record) for record in found[: query.limit]])


@endpoint(
    "GET",
    "/coordinator/experience",
    access=SOMEBODY,
    query=ExperienceOf,
    gives=answers.Experience,
    refuses=(403,),
)
async def get_experience(call: Call, query: ExperienceOf) -> Response:
    """Show how each way to do a workflow, or a step of it, went in all, and the best results."""
    call.require_admin()
    totals = await call.backend.experience.totals(query.workflow, query.step)
    best = await call.backend.experience.best(query.workflow, query.step, query.limit)
    document = {"arms": [_total(row) for row in totals], "best": [_entry(row) for row in best]}
    return json_response(document)


@endpoint(
    "GET",
    "/coordinator/experience/entries",
    access=SOMEBODY,
    query=ExperienceList,
    gives=list[answers.ExperienceEntry],
    refuses=(403,),
)
async def list_experience(call: Call, query: ExperienceList) -> Response:
    """List results in the order in which they were written, beyond a number."""
    call.require_admin()
    rows = await call.backend.experience.entries(query.after, query.limit)
    return json_response([_entry(row) for row in rows])


def _asked(call: Call, query: DecisionList, record: Record) -> bool:
    return (
        query.workflow in {None, record.workflow}
        and query.run_id in {None, record.run_id}
        and query.step in {None, record.step}
        and sees(call.visible, record.metadata)
    )


def _document(record: Record) -> dict[str, Any]:
    return {
        "decision_id": record.decision_id,
        "at": iso(record.at),
        "workflow": record.workflow,
        "run_id": record.run_id,
        "step": record.step,
        "features": asdict(record.features),
        "chosen": asdict(record.arm),
        "options": [_option(option) for option in record.options],
        "why": record.why,
        "result": None
        if record.result is None
        else {**asdict(record.result), "reward": record.reward},
    }


def _option(option: Option) -> dict[str, Any]:
    return {
        "arm": asdict(option.arm),
        "results": option.tried,
        "chance": option.chance,
        "seconds": option.seconds,
        "weight": option.weight,
        "drawn": option.drawn,
    }


def _total(row: sqlite3.Row) -> dict[str, Any]:
    tried = row["tried"]
    return {
        "owner": row["owner"] or None,
        "arm": _arm(row),
        "results": tried,
        "succeeded": row["succeeded"],
        "duration": row["duration"] / tried,
        "cost": row["cost"] / tried,
        "reward": row["reward"] / tried,
        "last_at": row["last_at"],
    }


def _entry(row: sqlite3.Row) -> dict[str, Any]:
    features = {name: row[name] for name in ("steps", "width", "priority", "load")}
    result = {name: row[name] for name in ("duration", "cost", "reward")}
    return {
        "number": row["number"],
        "decision_id": row["decision_id"],
        "at": row["at"],
        "owner": row["owner"] or None,
        "workflow": row["workflow"],
        "step": row["step"] or None,
        "arm": _arm(row),
        "features": features,
        "result": {**result, "success": bool(row["success"])},
    }


def _arm(row: sqlite3.Row) -> dict[str, str | None]:
    return {name: row[name] or None for name in ("mode", "variant", "pool")}
