"""Which authority a service has: the project's handlers, the built-in one, or none."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from ipaddress import ip_network

from langgraph_sdk import Auth

from operations.egress import LOOPBACK, UrlPolicy, UrlRefused
from operations.errors import ConfigurationError
from operations.keys import KeyFolder
from operations.outbound import Outbound
from operations.settings import Settings
from orchestration.api.access import Authority
from orchestration.api.auth.builtin import BuiltIn
from orchestration.api.auth.failures import FailureLimit
from orchestration.api.auth.handlers import Handlers
from orchestration.api.auth.insiders import KnowsInsiders
from orchestration.graphs.manifest import Manifest
from orchestration.graphs.targets import load_target

# The issuer is the operator's choice, and may well be an internal one.
_INTERNAL = (
    *LOOPBACK,
    ip_network("10.0.0.0/8"),
    ip_network("172.16.0.0/12"),
    ip_network("192.168.0.0/16"),
    ip_network("fc00::/7"),
)
_THIS_MACHINE = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def has_authority(manifest: Manifest, settings: Settings) -> bool:
    """Return whether anybody asks who calls."""
    custom = manifest.auth is not None and manifest.auth.path is not None
    return custom or settings.oidc_issuer is not None or KeyFolder(settings.data_dir).exists


@asynccontextmanager
async def open_authority(
    manifest: Manifest, settings: Settings
) -> AsyncGenerator[Authority | None]:
    """Open who decides; None if everybody may do everything.

    Raises:
        ConfigurationError: the handlers cannot be loaded or do not authenticate, or the issuer
            is not told whom its tokens are for, or cannot be asked for its keys.
    """
    async with _opened(manifest, settings) as authority:
        yield None if authority is None else KnowsInsiders(authority)


@asynccontextmanager
async def _opened(manifest: Manifest, settings: Settings) -> AsyncGenerator[Authority | None]:
    if manifest.auth is not None and manifest.auth.path is not None:
        yield FailureLimit(_handlers(manifest, manifest.auth.path, settings))
        return
    keys = KeyFolder(settings.data_dir)
    if settings.oidc_issuer is None:
        yield FailureLimit(BuiltIn(keys, None)) if keys.exists else None
        return
    if settings.oidc_audience is None:
        raise ConfigurationError(
            "MASTERLOOP_OIDC_AUDIENCE",
            "there is an issuer, and tokens that it made for others would be taken",
            "Set it to what tokens for this service have in aud.",
        )
    local = settings.oidc_issuer.startswith(_THIS_MACHINE)
    policy = UrlPolicy(
        require_https=not local, disable_loopback=not local, allowed_networks=_INTERNAL
    )
    _check(policy, "MASTERLOOP_OIDC_ISSUER", settings.oidc_issuer)
    _check(policy, "MASTERLOOP_OIDC_JWKS_URL", settings.oidc_jwks_url)
    from orchestration.api.auth.tokens import Tokens  # noqa: PLC0415 - slow, and rarely wanted

    async with aclosing(Outbound(policy)) as outbound:
        tokens = Tokens(
            outbound,
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            jwks_url=settings.oidc_jwks_url,
        )
        yield FailureLimit(BuiltIn(keys, tokens))


def _check(policy: UrlPolicy, where: str, url: str | None) -> None:
    """Refuse a URL from which no keys would ever be fetched: every token would be wrong."""
    try:
        if url is not None:
            policy.check_url(url)
    except UrlRefused as error:
        raise ConfigurationError(where, f"found {url!r}: {error}", "Take another URL.") from error


def _handlers(manifest: Manifest, path: str, settings: Settings) -> Handlers:
    where = f"{manifest.file}: auth.path"
    found = load_target(path, folder=manifest.folder, where=where)
    if not isinstance(found, Auth):
        raise ConfigurationError(
            where,
            f"{path} is a {type(found).__name__}, and not an Auth",
            "Name an instance of langgraph_sdk.Auth.",
        )
    return Handlers(found, where, settings.max_body)
