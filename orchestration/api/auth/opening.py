"""Which authority a service has: the project's handlers, the built-in one, or none."""

from langgraph_sdk import Auth

from operations.errors import ConfigurationError
from operations.settings import Settings
from orchestration.api.access import Authority
from orchestration.api.auth.failures import FailureLimit
from orchestration.api.auth.handlers import Handlers
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.targets import load_target


def open_authority(manifest: Manifest, settings: Settings) -> Authority | None:
    """Return who decides; None if everybody may do everything.

    Raises:
        ConfigurationError: the handlers cannot be loaded, or do not authenticate.
    """
    path = manifest.auth.path if manifest.auth is not None else None
    if path is not None:
        where = f"{manifest.file}: auth.path"
        found = load_target(path, folder=manifest.folder, where=where)
        if not isinstance(found, Auth):
            raise ConfigurationError(
                where,
                f"{path} is a {type(found).__name__}, and not an Auth",
                "Name an instance of langgraph_sdk.Auth.",
            )
        return FailureLimit(Handlers(found, where, settings.max_body))
    return None
