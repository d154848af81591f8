"""A load test as a page for people: one file, no script, nothing loaded from anywhere."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from load.charts import Line, chart

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1c2024, #e6e8ea); --paper: light-dark(#fff, #16181b);
  --faint: light-dark(#d8dce0, #383d43); --quiet: light-dark(#5b636b, #a0a8b0);
  --good: light-dark(#0a6b3b, #5fd39a); --bad: light-dark(#b3261e, #ff8a80); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.about { color: var(--quiet); margin-top: .3rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: right; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; }
.holds { color: var(--good); } .fails { color: var(--bad); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.2rem; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--quiet); }
svg .title { font-size: 14px; font-weight: 600; fill: var(--ink); }
svg .grid { stroke: var(--faint); fill: none; } svg .line { fill: none; stroke-width: 1.8; }
.l0 { stroke: light-dark(#1f6feb, #6cb0ff); } .l1 { stroke: light-dark(#c2500a, #ffa657); }
.l2 { stroke: light-dark(#8250df, #c8a6ff); } .l3 { stroke: light-dark(#0a6b3b, #5fd39a); }
.l1 { stroke-dasharray: 6 3; } .l2 { stroke-dasharray: 2 3; } .l3 { stroke-dasharray: 9 3 2 3; }
pre { white-space: pre-wrap; }
"""  # noqa: E501 - a style sheet


def render(summary: Mapping[str, Any]) -> str:
    """Return the page."""
    scenario = summary["scenario"]
    held = all(one["holds"] for one in summary["verdict"])
    word = "all bounds held" if held else "a bound did not hold"
    title = f"{scenario['name']}: {word}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="about">{escape(_about(summary))}</p>',
            "<h2>Bounds</h2>",
            _verdict(summary["verdict"]),
            *_stages(summary.get("stages", [])),
            "<h2>Over time</h2>",
            f'<div class="charts">{"".join(_charts(summary["series"]))}</div>',
            "<h2>Requests</h2>",
            _requests(summary["requests"]),
            *_problems(summary["problems"]),
            "<h2>All measures</h2>",
            _table(("measure", "found"), [(n, _n(v)) for n, v in summary["measures"].items()]),
            "</main></body></html>",
        ]
    )


def _about(summary: Mapping[str, Any]) -> str:
    scenario = summary["scenario"]
    begun = datetime.fromtimestamp(summary["begun"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    settings = ", ".join(f"{name} {value}" for name, value in scenario["service"].items())
    parts = [scenario["title"], begun, f"{summary['took']:.0f} s", settings]
    parts.append(", ".join(f"{name} {value}" for name, value in summary["machine"].items()))
    return ". ".join(part for part in parts if part) + "."


def _verdict(verdict: Sequence[Mapping[str, Any]]) -> str:
    words = {
        True: '<span class="holds">✓ holds</span>',
        False: '<span class="fails">✗ does not hold</span>',
    }
    rows = [
        (escape(one["measure"]), escape(one["bound"]), _n(one["found"]), words[one["holds"]])
        for one in verdict
    ]
    return _table(("measure", "has to be", "found", ""), rows)


def _stages(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    if not stages:
        return []
    heads = list(stages[0])
    rows = [[escape(v) if isinstance(v, str) else _n(v, "") for v in s.values()] for s in stages]
    return ["<h2>Stages</h2>", _table([name.replace("_", " ") for name in heads], rows)]


def _charts(series: Mapping[str, Any]) -> list[str]:
    def line(label: str, kind: str, name: str, times: float = 1.0) -> Line:
        points = [(one["at"], one.get(name)) for one in series[kind] if one["at"] >= 0]
        return Line(label, [(at, None if v is None else v * times) for at, v in points])

    def outcome(name: str) -> Line:
        return line(name, "requests", name)

    return [
        chart("Users", "", [outcome("users")]),
        chart("Requests a second", "/s", [*map(outcome, ("done", "refused", "failed", "offered"))]),
        chart(
            "Time until a request was done",
            "ms",
            [line(name, "requests", name, 1_000) for name in ("p50", "p95", "p99")],
            logarithmic=True,
        ),
        chart(
            "Time until the first event, and until a refusal",
            "ms",
            [
                line("first event, p95", "requests", "first_event_p95", 1_000),
                line("refusal, p99", "requests", "refused_p99", 1_000),
            ],
            logarithmic=True,
        ),
        chart("Runs that wait", "", [line("queue", "service", "waiting")]),
        chart("Slots taken", "", [line("slots", "service", "working")]),
        chart("Memory (RSS)", "MB", [line("RSS", "service", "rss")]),
        chart(
            "Lateness of the event loop, and how long /ops/status took",
            "ms",
            [
                line("lag", "service", "lag", 1_000),
                line("lag, p99 of a minute", "service", "lag_p99", 1_000),
                line("/ops/status", "service", "probe", 1_000),
            ],
            logarithmic=True,
        ),
        chart("Processor of the service", "cores", [line("cores", "service", "cpu")]),
        chart(
            "What it holds",
            "",
            [line(name, "service", name) for name in ("descriptors", "threads", "tasks")],
        ),
    ]


def _requests(requests: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ("request", "done", "a second", "refused", "failed", "p50 ms", "p95 ms", "p99 ms")
    rows = [
        (
            escape(name),
            f"{row['done']:,}",
            f"{row['per_second']:.1f}",
            f"{row['refused']:,}",
            f"{row['failed']:,}",
            *(_ms(row[percent]) for percent in ("p50", "p95", "p99")),
        )
        for name, row in requests.items()
    ]
    return _table(heads, rows)


def _problems(problems: Mapping[str, int]) -> list[str]:
    if not problems:
        return []
    lines = [f"{count:>6} x {escape(problem)}" for problem, count in problems.items()]
    return ["<h2>What went wrong</h2>", "<pre>" + "\n".join(lines) + "</pre>"]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1_000:,.1f}"


def _n(value: float | None, nothing: str = "not measured") -> str:
    return nothing if value is None else f"{value:,.4g}"
