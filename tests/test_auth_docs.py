"""The example of docs/auth.md, as it stands there."""

import re
from pathlib import Path

from tests.api.client import open_client

PAGE = Path(__file__).parent.parent / "docs/auth.md"


async def test_the_handlers_of_the_page_keep_everybody_apart(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "docs_auth.py").write_text(code)
    manifest = {"auth": {"path": "./docs_auth.py:auth"}}
    alice, bob = ({"authorization": f"Bearer token-of-{name}"} for name in ("alice", "bob"))
    async with open_client(tmp_path, "echo", manifest=manifest) as client:
        assert (await client.post("/threads")).status_code == 401
        thread = (await client.post("/threads", headers=alice)).json()["thread_id"]
        body = {"assistant_id": "echo", "input": {"text": 1}}
        run = f"/threads/{thread}/runs/wait"
        assert (await client.post(run, headers=alice, json=body)).json()["log"] == [1]
        assert (await client.post(run, headers=bob, json=body)).status_code == 404
        assert len((await client.post("/assistants/search", headers=bob)).json()) == 1
        item = {"namespace": ["n"], "key": "k", "value": {"a": 1}}
        assert (await client.put("/store/items", headers=alice, json=item)).status_code == 204
        where = {"namespace": "n", "key": "k"}
        assert (await client.get("/store/items", headers=bob, params=where)).json() is None
        assert (await client.get("/store/items", headers=alice, params=where)).json() is not None
