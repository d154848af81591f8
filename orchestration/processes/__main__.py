"""``python -m orchestration.processes FD`` is a worker process."""

import gc

gc.disable()  # until it is ready: looking for garbage takes an eighth of a start, and finds none

from orchestration.processes.child import main  # noqa: E402 - most of the start is this

main()
