"""Which URLs and addresses a policy allows."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.egress import UrlPolicy, UrlRefused

LENIENT = UrlPolicy(require_https=False)
LOCAL = UrlPolicy(require_https=False, disable_loopback=False)

# Nobody's business: see SECURITY.md, 29 and 32.
REFUSED = [
    "http://169.254.169.254/",
    "http://127.0.0.1/",
    "http://127.0.0.1./",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:1::]/",
    "http://[fe80::1%25lo]/",
    "http://[fd00::1]/",
    "http://[ff02::1]/",
    "http://0177.0.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://1.2.3.4.5/",
    "http://%31%32%37.0.0.1/",
    "http://①②⑦.0.0.1/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://api.localhost/",
    "http://metadata.google.internal/",
    "http://metadata.google.internal./",
    "file:///etc/passwd",
    "gopher://example.com/",
    "unix:/run/docker.sock",
    "https+unix://example.com/",
    "ftp://example.com/",
    "https://user:pass@example.com/",
    "https://example.com\\@10.0.0.1/",
    "https://example.com/\r\nx: y",
    "https://exa mple.com/",
    "https://a..b/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com/" + "a" * 10_000,
    "https:///hook",
    "//example.com/hook",
    "/hook",
    "example.com/hook",
    "",
]
ALLOWED = [
    "https://example.com/hook?token=abc",
    "https://EXAMPLE.com:8443/",
    "http://example.com./",
    "http://93.184.216.34/",
    "https://[2606:4700::1111]:8443/",
    "https://münchen.example/ü?ä=1",
    "https://my_hooks.example/",
    "https://10.example/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_what_leads_inside_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        LENIENT.check_url(url)


@pytest.mark.parametrize("url", ALLOWED)
def test_what_leads_outside_is_allowed(url: str) -> None:
    assert LENIENT.check_url(url).host


INSIDE = ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
SPELLINGS = [
    "{0}",
    "{0}.",
    "{1}",
    "0x{1:x}",
    "0{1:o}",
    "{2}.{3}",
    "0x{2:x}.{3}",
    "[::ffff:{0}]",
    "[::{0}]",
    "[64:ff9b::{0}]",
]


@given(
    network=st.sampled_from(INSIDE).map(IPv4Network),
    offset=st.integers(0),
    spelling=st.sampled_from(SPELLINGS),
)
def test_no_spelling_of_a_private_address_is_allowed(
    network: IPv4Network, offset: int, spelling: str
) -> None:
    number = int(network[offset % network.num_addresses])
    host = spelling.format(IPv4Address(number), number, number >> 24, number & 0xFFFFFF)
    with pytest.raises(UrlRefused):
        LENIENT.check_url(f"http://{host}/")


@given(text=st.text() | st.text().map("http://{}/".format))
def test_whatever_is_not_a_url_is_refused_and_nothing_else_happens(text: str) -> None:
    with suppress(UrlRefused):
        LENIENT.check_url(text)


def test_https_can_be_required() -> None:
    with pytest.raises(UrlRefused, match="must be https"):
        UrlPolicy().check_url("http://example.com/")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("hooks.example.com", True),
        ("HOOKS.example.com.", True),
        ("a.mycorp.com", True),
        ("a.b.mycorp.com", True),
        ("mycorp.com", False),
        ("evilmycorp.com", False),
        ("example.com", False),
        ("93.184.216.34", False),
    ],
)
def test_a_wildcard_stands_for_the_subdomains_only(host: str, *, allowed: bool) -> None:
    policy = UrlPolicy(allowed_domains=("hooks.example.com", "*.mycorp.com"))
    if allowed:
        policy.check_url(f"https://{host}/")
    else:
        with pytest.raises(UrlRefused, match="allowed domains"):
            policy.check_url(f"https://{host}/")


@pytest.mark.parametrize(("port", "allowed"), [("", True), (":8443", True), (":444", False)])
def test_the_port_of_the_scheme_counts_where_none_is_named(port: str, *, allowed: bool) -> None:
    policy = UrlPolicy(allowed_ports=(443, 8443))
    if allowed:
        policy.check_url(f"https://example.com{port}/")
    else:
        with pytest.raises(UrlRefused, match="port 444"):
            policy.check_url(f"https://example.com{port}/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "api.localhost"])
def test_loopback_can_be_allowed(host: str) -> None:
    LOCAL.check_url(f"http://{host}/")


@pytest.mark.parametrize("host", ["10.0.0.1", "[::ffff:127.0.0.1]", "metadata.google.internal"])
def test_allowing_loopback_allows_nothing_else(host: str) -> None:
    with pytest.raises(UrlRefused):
        LOCAL.check_url(f"http://{host}/")


def test_a_network_can_be_allowed() -> None:
    policy = UrlPolicy(allowed_networks=(IPv4Network("10.1.0.0/16"),))
    policy.check_addresses(["10.1.2.3"])
    with pytest.raises(UrlRefused, match=r"10\.2\.0\.1"):
        policy.check_addresses(["10.1.2.3", "10.2.0.1"])


@pytest.mark.parametrize("addresses", [[], ["93.184.216.34", "10.0.0.1"], ["::1"]])
def test_every_address_of_a_host_has_to_be_public(addresses: list[str]) -> None:
    with pytest.raises(UrlRefused):
        LENIENT.check_addresses(addresses)


def test_the_reason_does_not_repeat_what_may_be_secret() -> None:
    with pytest.raises(UrlRefused) as refused:
        LENIENT.check_url("http://user:hunter2@10.0.0.1/path?token=hunter2")
    assert "hunter2" not in str(refused.value)
