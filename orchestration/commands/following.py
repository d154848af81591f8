"""A process that ends when the one that has started it is gone, be it killed."""

import os
import signal
import threading


def end_with(descriptor: int) -> None:
    """End this process, as SIGTERM does, once nobody has the other end of a pipe any more."""
    threading.Thread(target=_end, args=(descriptor,), name="following", daemon=True).start()


def _end(descriptor: int) -> None:
    os.read(descriptor, 1)  # nobody writes: what comes is the end
    os.kill(os.getpid(), signal.SIGTERM)
