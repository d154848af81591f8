"""What is said about metrics outside of the code is what there is."""

import re
from pathlib import Path

from orchestration.telemetry.instruments import ALL

ROOT = Path(__file__).parent.parent.parent


def test_the_table_of_metrics_is_the_one_in_the_code() -> None:
    page = (ROOT / "docs/observe.md").read_text()
    table = page.split("<!-- metrics: begin")[1].split("<!-- metrics: end")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", table, re.MULTILINE)
    assert rows == [
        (one.name, one.kind, " ".join(f"`{label}`" for label in one.labels), one.says)
        for one in ALL
    ]
