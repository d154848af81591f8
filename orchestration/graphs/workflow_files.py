"""Workflows in files, and who ``langgraph.json`` says there is to do their steps."""

import json
from pathlib import Path
from typing import Any

from agents.configuration import AnyPool
from coordinator.checking import Known, WorkflowRefused, checked
from coordinator.plan import Plan
from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest


def configured(manifest: Manifest) -> Known:
    """Return who can do steps, as far as the configuration says."""
    pools = manifest.masterloop.agents
    named = {name for pool in pools.values() for name in pool.capabilities}
    return Known(
        agents=None if any(map(_says_itself, pools.values())) else {*pools, *named},
        tools=tuple(manifest.masterloop.tools),
        graphs=tuple(manifest.graphs),
    )


def read_workflow(file: Path) -> Any:
    """Return what a file says.

    Raises:
        ConfigurationError: it cannot be read, or is not JSON.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
        raise ConfigurationError(str(file), problem, "Name a readable file.") from None
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}"
        raise ConfigurationError(
            where, f"this is not JSON ({error.msg})", "A workflow is a JSON object."
        ) from None
    except (ValueError, RecursionError):
        raise ConfigurationError(
            str(file), "this is not JSON in UTF-8", "A workflow is a JSON object."
        ) from None
    return document


def load_workflows(manifest: Manifest) -> list[tuple[Any, Plan]]:
    """Return the workflows of ``masterloop.workflows``, each with its plan.

    Raises:
        ConfigurationError: a file cannot be read, or its workflow not be done; two have one name.
    """
    found: dict[str, tuple[Any, Plan]] = {}
    for name in manifest.masterloop.workflows:
        file = manifest.folder / name
        document = read_workflow(file)
        try:
            plan = checked(document, configured(manifest))
        except WorkflowRefused as error:
            fix = f"See: masterloop workflow check {name}"
            raise ConfigurationError(str(file), str(error), fix) from error
        if plan.workflow.name in found:
            problem = f"there is another workflow {plan.workflow.name!r}"
            raise ConfigurationError(str(file), problem, "Give it another name.")
        if plan.workflow.name in manifest.graphs:
            problem = f"there is a graph {plan.workflow.name!r}"
            raise ConfigurationError(str(file), problem, "Give the workflow another name.")
        found[plan.workflow.name] = (document, plan)
    return list(found.values())


def _says_itself(pool: AnyPool) -> bool:
    """Whether only its agents know what they can do, once they have started."""
    return not pool.capabilities and pool.kind in {"process", "mcp"}
