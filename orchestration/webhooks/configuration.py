"""What ``langgraph.json`` says of webhooks, in the words of those who act on it."""

from collections.abc import Mapping

from operations.egress import UrlPolicy
from operations.errors import ConfigurationError
from operations.headers import check_header
from operations.templates import fill_in
from orchestration.graphs.manifest import Manifest

_OURS = frozenset(
    {
        "connection", "content-length", "content-type", "host", "transfer-encoding",
        "webhook-id", "webhook-signature", "webhook-timestamp",
    }
)  # fmt: skip


def url_policy(manifest: Manifest) -> UrlPolicy:
    """Return what is allowed of a webhook's URL.

    As in LangGraph, https is required once the file has a section ``webhooks``, unless that says
    otherwise; and this machine's own addresses are refused, unless it says otherwise.
    """
    urls = manifest.webhooks.url
    return UrlPolicy(
        require_https="webhooks" in manifest.model_fields_set and urls.require_https,
        allowed_domains=urls.allowed_domains,
        allowed_ports=urls.allowed_ports,
        max_url_length=urls.max_url_length,
        disable_loopback=urls.disable_loopback,
        allowed_networks=manifest.masterloop.webhook_networks,
    )


def headers(manifest: Manifest, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that every webhook gets, ``${{ env.LG_WEBHOOK_X }}`` filled in.

    Raises:
        ConfigurationError: a variable is not set, or not one that may be given away; or what
            comes out is no header.
    """
    found: dict[str, str] = {}
    for name, template in manifest.webhooks.headers.items():
        where = f"{manifest.file}: webhooks.headers.{name}"
        if name.lower() in _OURS:
            raise ConfigurationError(where, "this header cannot be set", "Use another name.")
        value = fill_in(template, environment, where=where, prefix=manifest.webhooks.env_prefix)
        check_header(name, value, where=where)
        found[name.lower()] = value
    return found
