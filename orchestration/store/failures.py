"""The database's failures in the loop's words."""

from collections.abc import Awaitable
from typing import TypeVar

from operations.database import DatabaseError, DiskFull
from operations.failpoints import failpoint
from orchestration.loop.errors import StorageFull, StorageUnavailable

T = TypeVar("T")


async def durable(written: Awaitable[T], after: str | None = None) -> T:
    """Await a write that was queued already; ``after`` is a failpoint behind its commit.

    Raises:
        StorageFull: there is no room left; nothing was written.
        StorageUnavailable: it could not be written for another reason.
    """
    try:
        result = await written
    except DiskFull as error:
        raise StorageFull from error
    except DatabaseError as error:
        raise StorageUnavailable(str(error)) from error
    if after is not None:
        failpoint(after)
    return result
