"""What the outbound client connects to, what it sends, and how much it takes."""

import asyncio
import gc
import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest

from operations.egress import UrlPolicy, UrlRefused
from operations.outbound import MAX_ANSWER, Outbound, RequestFailed, resolve
from orchestration.webhooks.deliverer import AT_ONCE
from tests.operations.receiver import Receiver, answer

LOCAL = UrlPolicy(require_https=False, disable_loopback=False)
HOST = "hooks.example.test"


class Names:
    """A name server that answers in turn, the last answer again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)


@asynccontextmanager
async def open_outbound(
    *, policy: UrlPolicy = LOCAL, names: Names | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Outbound]:
    resolver = names or Names(["127.0.0.1"])
    async with aclosing(Outbound(policy, resolve=resolver, tls=tls, timeout=5)) as outbound:
        yield outbound


@contextmanager
def silent_address(host: str, port: int) -> Generator[None]:
    """Have nothing answered there: whoever listens has as many waiting as it may have."""
    with closing(socket.create_server((host, port), backlog=0)), closing(socket.socket()) as first:
        first.connect((host, port))
        yield


async def test_the_body_arrives_with_the_headers() -> None:
    async with Receiver.open(answer(201, body=b"thanks")) as receiver, open_outbound() as outbound:
        answered = await outbound.post(receiver.url, b"{}", {"x-token": "abc"})
        (request,) = receiver.requests
        assert (answered.status, answered.body) == (201, b"thanks")
        assert (request.method, request.body, request.headers["x-token"]) == ("POST", b"{}", "abc")


async def test_a_host_is_looked_up_once_and_the_checked_address_is_used() -> None:
    names = Names(["127.0.0.1"], ["192.0.2.1"])
    async with Receiver.open() as receiver, open_outbound(names=names) as outbound:
        url = f"http://{HOST}.:{receiver.port}/hook?a=b%20c"
        await outbound.post(url, b"{}", {})
        (request,) = receiver.requests
        assert names.asked == [HOST]
        assert request.headers["host"] == f"{HOST}.:{receiver.port}"
        assert request.target == "/hook?a=b%20c"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"]])
async def test_one_private_address_is_enough_to_refuse_a_host(addresses: list[str]) -> None:
    policy = UrlPolicy(require_https=False)
    async with (
        Receiver.open() as receiver,
        open_outbound(policy=policy, names=Names(addresses)) as outbound,
    ):
        with pytest.raises(UrlRefused, match=r"127\.0\.0\.1"):
            await outbound.post(f"http://{HOST}:{receiver.port}/", b"{}", {})
        assert receiver.requests == []


async def test_a_host_that_turns_private_is_refused_the_second_time() -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with Receiver.open() as receiver, open_outbound(names=names) as outbound:
        url = f"http://{HOST}:{receiver.port}/"
        await outbound.post(url, b"{}", {})
        with pytest.raises(UrlRefused):
            await outbound.post(url, b"{}", {})


async def test_the_next_address_is_tried_where_nobody_listens() -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    async with Receiver.open() as receiver, open_outbound(names=names) as outbound:
        answered = await outbound.post(f"http://{HOST}:{receiver.port}/", b"{}", {})
        assert answered.status == 200


async def test_the_next_address_is_tried_where_nothing_is_heard() -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    async with (
        Receiver.open() as receiver,
        aclosing(Outbound(LOCAL, resolve=names, timeout=1.8)) as outbound,
    ):
        with silent_address("127.0.0.2", receiver.port):
            answered = await outbound.post(f"http://{HOST}:{receiver.port}/", b"{}", {})
        assert answered.status == 200


def transports() -> int:
    return sum(isinstance(one, httpx2.AsyncHTTPTransport) for one in gc.get_objects())


async def test_many_first_requests_load_the_system_s_certificates_once() -> None:
    released = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.write(answer(200))

    before = transports()
    async with Receiver.open(hold) as receiver, open_outbound() as outbound:
        posts = [asyncio.create_task(outbound.post(receiver.url, b"{}", {})) for _ in range(4)]
        await receiver.arrived(len(posts))
        assert transports() == before + 1
        released.set()
        await asyncio.gather(*posts)


async def test_a_redirect_is_an_answer() -> None:
    async with (
        Receiver.open() as inside,
        Receiver.open(answer(302, f"location: {inside.url}")) as receiver,
        open_outbound() as outbound,
    ):
        assert (await outbound.post(receiver.url, b"{}", {})).status == 302
        assert inside.requests == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver.open() as proxy, Receiver.open() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with open_outbound() as outbound:
            await outbound.post(receiver.url, b"{}", {})
        assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


async def test_an_endless_answer_is_cut_off() -> None:
    sent = 0

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with Receiver.open(pour) as receiver, open_outbound() as outbound:
        with pytest.raises(RequestFailed, match="larger than 256 KiB"):
            await outbound.post(receiver.url, b"{}", {})
        assert sent < 100 * MAX_ANSWER


async def test_an_answer_is_taken_as_it_comes_and_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 10 * MAX_ANSWER)
    packed_answer = answer(200, "content-encoding: gzip", body=packed)
    async with Receiver.open(packed_answer) as receiver, open_outbound() as outbound:
        answered = await outbound.post(receiver.url, b"{}", {})
        assert (answered.body, receiver.requests[0].headers["accept-encoding"]) == (
            packed,
            "identity",
        )


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"])
async def test_an_answer_that_does_not_end_is_given_up(beginning: bytes) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        await writer.drain()
        await asyncio.Event().wait()

    async with (
        Receiver.open(hang) as receiver,
        aclosing(Outbound(LOCAL, timeout=0.1)) as outbound,
    ):
        with pytest.raises(RequestFailed, match=r"within 0\.1 s"):
            await outbound.post(receiver.url, b"{}", {})


@pytest.mark.parametrize("said", [b"", b"not HTTP at all\r\n\r\n"])
async def test_what_is_no_answer_is_a_failure(said: bytes) -> None:
    async with Receiver.open(said) as receiver, open_outbound() as outbound:
        with pytest.raises(RequestFailed):
            await outbound.post(receiver.url, b"{}", {})


async def test_a_name_that_nobody_knows_is_a_failure() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    async with aclosing(Outbound(LOCAL, resolve=unknown)) as outbound:
        with pytest.raises(RequestFailed, match="Name or service not known"):
            await outbound.post(f"http://{HOST}/", b"{}", {})


async def test_look_ups_that_hang_keep_no_thread_from_anybody_else() -> None:
    asked, answered = list[str](), threading.Event()

    def silent(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        answered.wait()
        return ["127.0.0.1"]

    async with (
        aclosing(Outbound(LOCAL, resolve=silent)) as outbound,
        anyio.create_task_group() as deliveries,
    ):
        try:
            for _ in range(AT_ONCE):
                deliveries.start_soon(outbound.get, f"http://{HOST}/", dict[str, str]())
            with anyio.fail_after(5):
                while len(asked) < AT_ONCE:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0)
                await anyio.to_thread.run_sync(lambda: None)
        finally:
            answered.set()
            deliveries.cancel_scope.cancel()


def test_the_system_knows_localhost() -> None:
    assert set(resolve("localhost", 80)) <= {"127.0.0.1", "::1"}


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for the host alone, not for its address."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-out", str(cert)]
    command += ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


async def test_tls_is_verified_for_the_name_and_not_for_the_address(
    certificate: tuple[Path, Path],
) -> None:
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with (
        Receiver.open(tls=server_side(certificate)) as receiver,
        open_outbound(tls=trusting) as outbound,
    ):
        answered = await outbound.post(f"https://{HOST}:{receiver.port}/", b"{}", {})
        assert answered.status == 200
        with pytest.raises(RequestFailed, match="certificate"):
            await outbound.post(f"https://other.example.test:{receiver.port}/", b"{}", {})


async def test_a_certificate_of_nobody_known_is_refused(certificate: tuple[Path, Path]) -> None:
    async with Receiver.open(tls=server_side(certificate)) as receiver, open_outbound() as outbound:
        with pytest.raises(RequestFailed, match="certificate"):
            await outbound.post(f"https://{HOST}:{receiver.port}/", b"{}", {})
