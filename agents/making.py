"""From what the configuration says of a pool to the agents that sit in it."""

from collections.abc import Mapping
from pathlib import Path

from agents.agent import Agent
from agents.configuration import CommandPool, McpPool, ProcessPool, RemotePool
from agents.groups import Groups
from agents.kinds.command import CommandAgent
from agents.kinds.process import ProcessAgent
from agents.network.asking import Send
from agents.provisioning import Make
from operations.headers import check_header
from operations.templates import fill_in

Makeable = ProcessPool | CommandPool | McpPool | RemotePool


def maker(
    name: str,
    section: Makeable,
    root: Path,
    environment: Mapping[str, str],
    send: Send | None = None,
    *,
    groups: Groups | None = None,
) -> Make:
    """Return what makes an agent of the pool ``name``; paths are relative to ``root``.

    ``send`` is how it sends messages, if it can; ``groups`` is where its process group is noted.

    Raises:
        ConfigurationError: a variable that the section names is not set, or a header cannot be
            sent.
    """
    where = f"masterloop.agents.{name}"

    def filled(values: Mapping[str, str], key: str) -> dict[str, str]:
        return {
            name: fill_in(value, environment, where=f"{where}.{key}.{name}")
            for name, value in values.items()
        }

    def headers_of(section: McpPool | RemotePool) -> dict[str, str]:
        headers = filled(section.headers, "headers")
        for header, value in headers.items():
            check_header(header, value, where=f"{where}.headers.{header}")
        return headers

    match section:
        case ProcessPool():
            process = section.model_copy(update={"env": filled(section.env, "env")})
            return lambda: ProcessAgent(process, name, root, send, groups)
        case CommandPool():
            command = section.model_copy(update={"env": filled(section.env, "env")})
            return lambda: CommandAgent(command, name, root, groups)
        case RemotePool():
            remote = section.model_copy(update={"headers": headers_of(section)})
            return _remote(name, remote)
        case McpPool():
            server = section.server
            if server is not None:
                env = filled(server.env, "server.env")
                server = server.model_copy(update={"env": env})
            headers = headers_of(section)
            update = {"server": server, "headers": headers}
            return _mcp(section.model_copy(update=update), root, groups)


def _remote(name: str, section: RemotePool) -> Make:
    from agents.kinds.remote import RemoteAgent  # noqa: PLC0415 - slow, and seldom needed

    return lambda: RemoteAgent(section, name)


def _mcp(section: McpPool, root: Path, groups: Groups | None) -> Make:
    from agents.kinds.mcp_server import McpAgent  # noqa: PLC0415 - slow, and seldom needed

    def make() -> Agent:
        return McpAgent(section, root, groups)

    return make
