"""What ``langgraph.json`` can say of webhooks."""

import json
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from operations.egress import UrlPolicy
from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest, load_manifest
from orchestration.webhooks.configuration import headers, url_policy


def manifest(folder: Path, **sections: Any) -> Manifest:
    file = folder / "langgraph.json"
    file.write_text(json.dumps({"graphs": {"echo": "./echo.py:graph"}, **sections}))
    return load_manifest(file)


def test_without_a_section_http_is_allowed_and_loopback_is_not(tmp_path: Path) -> None:
    assert url_policy(manifest(tmp_path)) == UrlPolicy(require_https=False)


def test_with_a_section_https_is_required(tmp_path: Path) -> None:
    assert url_policy(manifest(tmp_path, webhooks={})) == UrlPolicy(require_https=True)


def test_the_section_has_the_last_word(tmp_path: Path) -> None:
    urls = {
        "require_https": False,
        "allowed_domains": ["*.example.com"],
        "allowed_ports": [8443],
        "max_url_length": 100,
        "disable_loopback": False,
    }
    masterloop = {"webhook_networks": ["10.0.0.0/8"]}
    found = url_policy(manifest(tmp_path, webhooks={"url": urls}, masterloop=masterloop))
    assert found == UrlPolicy(
        require_https=False,
        allowed_domains=("*.example.com",),
        allowed_ports=(8443,),
        max_url_length=100,
        disable_loopback=False,
        allowed_networks=(IPv4Network("10.0.0.0/8"),),
    )


@pytest.mark.parametrize("network", ["10.0.0.1/8", "intranet", 10])
def test_what_is_no_network_is_named(tmp_path: Path, network: object) -> None:
    with pytest.raises(ConfigurationError, match=r"masterloop\.webhook_networks.*10\.0\.0\.0/8"):
        manifest(tmp_path, masterloop={"webhook_networks": [network]})


def test_headers_are_filled_in_from_the_environment(tmp_path: Path) -> None:
    templates = {"Authorization": "Bearer ${{ env.LG_WEBHOOK_A }}", "x-b": "{{env.LG_WEBHOOK_A}}!"}
    loaded = manifest(tmp_path, webhooks={"headers": templates})
    assert headers(loaded, {"LG_WEBHOOK_A": "abc"}) == {
        "authorization": "Bearer abc",
        "x-b": "abc!",
    }


@pytest.mark.parametrize(
    ("name", "template", "said"),
    [
        ("x", "${{ env.HOME }}", "HOME must not be given away"),
        ("x", "${{ env.LG_WEBHOOK_B }}", "LG_WEBHOOK_B is not set"),
        ("x", "${{ env.LG_WEBHOOK_CRLF }}", "characters that a header cannot have"),
        ("x y", "z", "cannot be set"),
        ("Host", "z", "cannot be set"),
        ("Webhook-Signature", "z", "cannot be set"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_at_the_start(
    tmp_path: Path, name: str, template: str, said: str
) -> None:
    loaded = manifest(tmp_path, webhooks={"headers": {name: template}})
    environment = {"HOME": "/root", "LG_WEBHOOK_CRLF": "a\r\nb: c"}
    with pytest.raises(ConfigurationError, match=said):
        headers(loaded, environment)


def test_the_prefix_can_be_another(tmp_path: Path) -> None:
    section = {"env_prefix": "HOOK_", "headers": {"x": "${{ env.HOOK_A }}"}}
    assert headers(manifest(tmp_path, webhooks=section), {"HOOK_A": "1"}) == {"x": "1"}
