"""The one client for requests to URLs that somebody else chose."""

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio
import anyio.to_thread
import httpx2

from operations.egress import UrlPolicy, as_address, host_of, port_of

TIMEOUT = 15.0  # seconds for everything, from looking the host up to the last byte of the answer
MAX_ANSWER = 256 * 1024  # bytes
_AGENT = "masterloop"
_LOOK_UPS = 64  # at once: as many as there are deliveries of webhooks

Resolve = Callable[[str, int], Sequence[str]]


class RequestFailed(Exception):
    """There was no complete answer. Whether the request arrived is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: httpx2.Headers
    body: bytes


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of ``host`` as the system knows them, best first.

    Raises:
        OSError: it has none, or nobody could be asked.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


class Outbound:
    """Sends requests where a policy allows it, and nowhere else.

    A host is looked up once, every address it has is checked, and the connection is made to one
    of those: a second answer of the name server cannot lead elsewhere. Redirects are answers like
    any other. Proxies, ``.netrc`` and cookies are not used, and no connection is used twice.
    """

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._look_ups = anyio.CapacityLimiter(_LOOK_UPS)
        self._timeout = timeout
        self._tls = tls
        self._transport: httpx2.AsyncHTTPTransport | None = None
        self._opening = anyio.Lock()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send ``body`` to ``url`` and return the answer, of whatever status.

        Raises:
            UrlRefused: the policy does not allow it; nothing was sent.
            RequestFailed: there was no answer within 15 s, or it was larger than 256 KiB.
        """
        return await self._exchange("POST", url, body, headers)

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask ``url`` for what it has, and return the answer, of whatever status.

        Raises:
            UrlRefused: the policy does not allow it; nothing was sent.
            RequestFailed: there was no answer within 15 s, or it was larger than 256 KiB.
        """
        return await self._exchange("GET", url, b"", headers)

    async def _exchange(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        target = self._policy.check_url(url)
        try:
            with anyio.fail_after(self._timeout):
                return await self._send(method, target, body, headers)
        except TimeoutError:
            raise RequestFailed(f"no complete answer within {self._timeout:g} s") from None
        except (httpx2.TransportError, OSError) as error:
            raise RequestFailed(f"{type(error).__name__}: {error}"[:200]) from error

    async def aclose(self) -> None:
        """Close every connection."""
        if self._transport is not None:
            await self._transport.aclose()

    async def _opened(self) -> httpx2.AsyncHTTPTransport:
        """Return the transport, made when it is first needed: the system's certificates are many.

        It is the one below the client: it knows no redirects, cookies or environment. A kept
        connection was verified for one name; another with the same address must not get it.
        """
        async with self._opening:
            if self._transport is None:
                self._transport = await anyio.to_thread.run_sync(
                    lambda: httpx2.AsyncHTTPTransport(
                        verify=self._tls or True, limits=httpx2.Limits(max_keepalive_connections=0)
                    )
                )
            return self._transport

    async def _send(
        self, method: str, url: httpx2.URL, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        host = host_of(url)
        addresses = [host] if as_address(host) else await self._addresses(host, port_of(url))
        self._policy.check_addresses(addresses)
        *others, last = addresses
        patience = self._timeout / (len(addresses) + 1)  # which leaves time for the answer
        for address in others:
            try:
                return await self._send_to(method, address, url, body, headers, connect=patience)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._send_to(method, last, url, body, headers)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        # Not threads that requests wait for, nor of the event loop's own executor, which runs the
        # nodes of graphs: a name server that is silent takes all there are.
        return await anyio.to_thread.run_sync(
            self._resolve, host, port, abandon_on_cancel=True, limiter=self._look_ups
        )

    async def _send_to(
        self,
        method: str,
        address: str,
        url: httpx2.URL,
        body: bytes,
        headers: Mapping[str, str],
        *,
        connect: float | None = None,
    ) -> Answer:
        request = httpx2.Request(
            method,
            url.copy_with(host=address),
            headers={
                "user-agent": _AGENT,
                "accept-encoding": "identity",
                **headers,
                "host": url.netloc.decode("ascii"),
            },
            content=body,
            extensions={"sni_hostname": host_of(url), "timeout": {"connect": connect}},
        )
        transport = await self._opened()
        response = await transport.handle_async_request(request)
        try:
            return Answer(response.status_code, response.headers, await _read(response))
        finally:
            await response.aclose()


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise RequestFailed(f"the answer is larger than {MAX_ANSWER // 1024} KiB")
    return bytes(body)
