"""Which port is taken."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from operations import ports


@contextmanager
def taken(first: int, count: int) -> Iterator[None]:
    """Listen on ports, as far as nobody else does already."""
    with ExitStack() as stack:
        for port in range(first, first + count):
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def test_the_port_that_was_asked_for_is_taken_if_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ports.PortTaken, match=f"port {port} on 127.0.0.1 is in use"):
            ports.choose_port("127.0.0.1", port)
    assert ports.choose_port("127.0.0.1", port) == port


def test_without_a_wish_it_is_the_next_free_one() -> None:
    with taken(ports.DEFAULT_PORT, 2):
        assert ports.choose_port("127.0.0.1", None) > ports.DEFAULT_PORT + 1


def test_a_hundred_ports_are_tried() -> None:
    with (
        taken(ports.DEFAULT_PORT, ports.TRIES),
        pytest.raises(ports.PortTaken, match=r"ports 8123 to 8222 on 127\.0\.0\.1 are all in use"),
    ):
        ports.choose_port("127.0.0.1", None)


def test_a_host_that_does_not_exist_is_another_error() -> None:
    with pytest.raises(OSError, match=r".+"):
        ports.choose_port("192.0.2.1", None)


def test_ipv6_is_understood() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert not ports.is_free("::1", listener.getsockname()[1])
