"""Which port to listen on."""

import errno
import socket

DEFAULT_PORT = 8123  # where langgraph_sdk's get_sync_client() looks by itself
LAST_PORT = 65_535
TRIES = 100


class PortTaken(Exception):
    """The port that was asked for, or every port tried, is in use."""


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now; later is anybody's guess.

    Raises:
        OSError: it could not for another reason: no such host, no permission.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does
        try:
            probe.bind(address)
            # Two may bind an address that neither listens on yet.
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def choose_port(host: str, asked: int | None) -> int:
    """Return the port that was asked for, or the first free one from 8123 on.

    Raises:
        PortTaken: it is in use, or the hundred from 8123 on are.
        OSError: the host cannot be listened on.
    """
    if asked is not None:
        if not is_free(host, asked):
            raise PortTaken(f"port {asked} on {host} is in use")
        return asked
    last = DEFAULT_PORT + TRIES - 1
    for port in range(DEFAULT_PORT, last + 1):
        if is_free(host, port):
            return port
    raise PortTaken(f"ports {DEFAULT_PORT} to {last} on {host} are all in use")
