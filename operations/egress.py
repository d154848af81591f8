"""Where requests may go: what is allowed of a URL, and of the addresses that its host has."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx2

Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_LOOPBACK_SUFFIXES = (".localhost", ".localhost.localdomain")
_METADATA_NAMES = (
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.azure.internal",
    "metadata.goog",
    "metadata.google.internal",
    "metadata.tencentyun.com",
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
# Resolvers take such names for addresses: 2130706433, 0177.0.0.1, 127.1, 0x7f.1.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_LAST_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UrlRefused(Exception):
    """The policy does not allow a request to go there. Nothing was sent.

    The text says why; it repeats nothing of the URL but its scheme, host and port.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """What is allowed of URLs that somebody else chose; the words are LangGraph's.

    Empty tuples allow any domain and any port. ``*.example.com`` stands for the subdomains of
    ``example.com`` and not for itself. Addresses that are not public are refused, but for those
    in ``allowed_networks`` and, unless ``disable_loopback``, this machine's own.
    """

    require_https: bool = True
    allowed_domains: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()
    max_url_length: int = 4_096  # characters
    disable_loopback: bool = True
    allowed_networks: tuple[Network, ...] = ()

    def check_url(self, url: str) -> httpx2.URL:
        """Return ``url`` parsed, if nothing speaks against it before its host is looked up.

        Raises:
            UrlRefused: it is not allowed, or no URL.
        """
        if len(url) > self.max_url_length:
            raise UrlRefused(f"longer than {self.max_url_length} characters")
        if url.startswith("/"):
            raise UrlRefused("a path on this server is not supported; give a whole URL")
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            raise UrlRefused("not a URL") from None
        if not parsed.scheme:
            raise UrlRefused("not a whole URL: it has to begin with https://")
        if parsed.scheme not in _DEFAULT_PORTS:
            raise UrlRefused(f"must be https or http, found {parsed.scheme[:32]!r}")
        if parsed.scheme == "http" and self.require_https:
            raise UrlRefused("must be https")
        if parsed.userinfo:
            raise UrlRefused("must not contain a user or a password")
        self._check_host(host_of(parsed))
        self._check_port(port_of(parsed))
        return parsed

    def check_addresses(self, addresses: Iterable[str]) -> None:
        """Check every address that a host has.

        Raises:
            UrlRefused: one of them is not allowed, or there is none.
        """
        found = [ip_address(address) for address in addresses]
        if not found:
            raise UrlRefused("the host has no address")
        for address in found:
            if not self._allows(address):
                raise UrlRefused(f"the host has the address {address}, which is not public")

    def _check_host(self, host: str) -> None:
        if not host:
            raise UrlRefused("has no host")
        address = as_address(host)
        if address is not None:
            if not self._allows(address):
                raise UrlRefused(f"the address {address} is not public")
        elif not _NAME.fullmatch(host) or _NUMBER.fullmatch(host):
            raise UrlRefused(f"{host[:64]!r} is not the name of a host")
        elif host in _METADATA_NAMES or (self.disable_loopback and _is_loopback_name(host)):
            raise UrlRefused(f"the host {host!r} is not public")
        if self.allowed_domains and not any(_covers(d, host) for d in self.allowed_domains):
            raise UrlRefused(f"the host {host!r} is not among the allowed domains")

    def _check_port(self, port: int) -> None:
        if not 0 < port <= _LAST_PORT:
            raise UrlRefused(f"there is no port {port}")
        if self.allowed_ports and port not in self.allowed_ports:
            raise UrlRefused(f"port {port} is not among the allowed ports")

    def _allows(self, address: IPv4Address | IPv6Address) -> bool:
        allowed = self.allowed_networks + (() if self.disable_loopback else LOOPBACK)
        return _is_public(address) or any(address in network for network in allowed)


def host_of(url: httpx2.URL) -> str:
    """Return the host as it is looked up: in ASCII and lower case, no dot at its end."""
    return url.raw_host.decode("ascii").removesuffix(".")


def port_of(url: httpx2.URL) -> int:
    """Return the port, the scheme's own if the URL names none."""
    return url.port if url.port is not None else _DEFAULT_PORTS[url.scheme]


def as_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that ``host`` is, None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    # Outside 2000::/3 are multicast, link-local and private addresses, and most of the forms
    # that embed an IPv4 address; inside it are 6to4 and Teredo.
    embeds = address.sixtofour is not None or address.teredo is not None
    return address in _GLOBAL_UNICAST and address.is_global and not embeds


def _is_loopback_name(host: str) -> bool:
    return host in _LOOPBACK_NAMES or host.endswith(_LOOPBACK_SUFFIXES)


def _covers(domain: str, host: str) -> bool:
    wanted = domain.lower().removesuffix(".")
    return host.endswith(wanted[1:]) if wanted.startswith("*.") else host == wanted
