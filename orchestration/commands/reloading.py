"""``masterloop dev --reload``: the service in a subprocess that starts again on changes."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import typer
from watchfiles import Change, DefaultFilter, watch

from operations.errors import ConfigurationError
from operations.settings import load_settings
from orchestration.graphs.manifest import load_manifest

SUFFIXES = (".py", ".json", ".toml", ".env")
QUIET = 200  # milliseconds without a further change before one counts


class Sources(DefaultFilter):
    """What is watched: sources and configuration, and no folder of a tool or of data.

    Nor is what is in the folders of ``written``.
    """

    ignore_dirs = (*DefaultFilter.ignore_dirs, ".masterloop")

    def __init__(self) -> None:
        super().__init__()
        self.written: Collection[Path] = ()

    def __call__(self, change: Change, path: str) -> bool:
        return (
            path.endswith(SUFFIXES)
            and super().__call__(change, path)
            and not any(Path(path).resolve().is_relative_to(folder) for folder in self.written)
        )


def written_folders(config: Path) -> Collection[Path]:
    """Return where the service of ``config`` writes, as far as that can be read.

    A folder that has all the sources in it is none of them: no change would be seen.
    """
    folders: list[Path] = []
    with suppress(ConfigurationError):
        folders.append(load_settings().data_dir)
    with suppress(ConfigurationError):
        manifest = load_manifest(config)
        if (named := manifest.masterloop.manifests) is not None:
            folders.append(manifest.folder / named)
    watched = config.resolve().parent
    resolved = (folder.resolve() for folder in folders)
    return [folder for folder in resolved if not watched.is_relative_to(folder)]


class Supervisor:
    """Keeps one process running, and passes signals on to it.

    It is given a pipe to follow, which closes however this process ends.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._pipe, self._kept = os.pipe()
        self._command = [*command, "--follow", str(self._pipe)]
        self._process: subprocess.Popen[bytes] | None = None
        self.signalled = threading.Event()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process, and return it."""
        # In a group of its own: a Ctrl-C in the terminal must reach it once, through us. The
        # terminal stops whoever reads from it in such a group: a `breakpoint()` in a node would
        # have all of the service stand still.
        self._process = subprocess.Popen(  # noqa: S603 - our own
            self._command, process_group=0, pass_fds=[self._pipe], stdin=subprocess.DEVNULL
        )
        if self.signalled.is_set():  # just before there was a process to pass it on to
            self._process.terminate()
        return self._process

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: it is the process's, and the last thing that is done.

        SIGHUP, which nobody there takes, is passed on as SIGTERM.
        """
        del frame
        self.signalled.set()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)


def supervise(command: Sequence[str], folder: Path, written: Callable[[], Collection[Path]]) -> int:
    """Run ``command``, again on each change below ``folder``; return its last exit code.

    What it changes itself, in the folders that ``written`` returns at each start, is no change.
    A process that ends by itself is started again at the next change: it may have been stopped
    by an error that the change puts right.

    Raises:
        OSError: the folder cannot be watched; no process is left.
    """
    supervisor, sources = Supervisor(command), Sources()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, supervisor.pass_on)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, supervisor.pass_on)
    sources.written = written()
    process = supervisor.start()
    try:
        for changes in watch(
            folder,
            watch_filter=sources,
            stop_event=supervisor.signalled,
            step=QUIET,
            raise_interrupt=False,
        ):
            names = ", ".join(sorted({Path(path).name for _, path in changes}))
            typer.echo(f"Changed: {names}. Starting again.", err=True)
            process.terminate()
            process.wait()
            sources.written = written()
            process = supervisor.start()
        code = process.wait()
    finally:
        process.terminate()  # does nothing to one that has ended
        process.wait()
    return 128 - code if code < 0 else code
