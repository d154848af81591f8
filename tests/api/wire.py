"""HTTP by hand: what is sent on a connection byte by byte, and what comes back."""

import asyncio
from collections.abc import Iterable

POST = b"POST /threads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
WEBSOCKET = (
    b"GET /ops/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
CONNECT = b"CONNECT %s HTTP/1.1\r\nHost: x\r\n"


async def answer(address: tuple[str, int], chunks: Iterable[bytes], *, close: bool = True) -> bytes:
    """Send ``chunks`` until they are sent or refused; return all that the server says."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if close:
            writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return await reader.read()
    finally:
        writer.close()
