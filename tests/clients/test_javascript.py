"""LangGraph's clients in JavaScript, unchanged, against a real server: under Node, in a page."""

import asyncio
import shutil
from asyncio.subprocess import PIPE, STDOUT
from os import environ
from pathlib import Path

import pytest

from tests.api.client import open_socket
from tests.clients.graphs import MANIFEST

HERE = Path(__file__).parent
_INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_INSTALLING = 120  # seconds


async def output(*command: str, folder: Path = HERE, **more: str) -> tuple[int | None, str]:
    """Run a command to its end; return its exit code and all it says."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={**environ, **more}, stdout=PIPE, stderr=STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


async def packages(folder: Path = HERE) -> str:
    """Return how to call Node, once the packages are there; skip if that cannot be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not there")
    wanted, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return node
    try:
        async with asyncio.timeout(_INSTALLING):
            code, said = await output(npm, *_INSTALL, folder=folder)
    except TimeoutError:
        code, said = None, f"it took longer than {_INSTALLING} s"
    if code != 0:
        pytest.skip(f"the packages cannot be installed: {said[-500:]}")
    return node


@pytest.mark.process
@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", ["sdk", "legacy", "react"])
async def test_a_client_works_unchanged(tmp_path: Path, client: str) -> None:
    node = await packages()
    async with open_socket(tmp_path, manifest=MANIFEST) as (_, http):
        url = str(http.base_url).rstrip("/")
        code, said = await output(node, "--test", f"{client}.test.js", BASE_URL=url)
    assert code == 0, said
