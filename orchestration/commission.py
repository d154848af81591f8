"""Declared workflows in a service: who there is to do them, and those that are in files."""

from collections.abc import Mapping
from uuid import UUID, uuid5

from agents.pools import AgentPools
from coordinator.checking import Known
from coordinator.toolbox import Toolbox
from orchestration.api.workflows import workflow_fields
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.registry import GraphRegistry
from orchestration.graphs.workflow_files import load_workflows
from orchestration.store.assistants import AssistantStore

_NAMES = UUID("0d1f5f0c-6c0e-5c9b-9e57-6a1b7f5f4a8e")  # a name space of our own


def known(pools: AgentPools, tools: Toolbox, graphs: GraphRegistry) -> Known:
    """Return who can do steps now; agents that have not started yet may be able to do anything."""
    abilities = [pool.capabilities for pool in pools]
    names = {pool.name for pool in pools}.union(*(found or () for found in abilities))
    return Known(
        agents=None if None in abilities else names,
        tools=tuple(tools.names),
        graphs=graphs.names,
    )


async def register_files(manifest: Manifest, assistants: AssistantStore) -> Mapping[str, str]:
    """Register the workflows of ``masterloop.workflows``; return their assistants by name.

    One whose file has changed becomes a new version.

    Raises:
        ConfigurationError: a file is no workflow that can be done.
    """
    registered: dict[str, str] = {}
    for document, plan in load_workflows(manifest):
        name = plan.workflow.name
        assistant_id = registered[name] = str(uuid5(_NAMES, name))
        fields = workflow_fields(document)
        before = assistants.get(assistant_id)
        if before is None:
            metadata = {"created_by": "system"}
            await assistants.create(assistant_id, {**fields, "metadata": metadata})
        elif before.config != fields["config"]:
            await assistants.update(assistant_id, fields)
    return registered
