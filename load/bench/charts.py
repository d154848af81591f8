"""Bars as an SVG file that stands alone: no script, readable on a light and on a dark page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

NAMESPACE = "http://www.w3.org/2000/svg"
WIDTH = 760
LEFT, RIGHT = 200, 130  # of the bars: room for names, and for figures
TOP = 46
ROW, THICK, GAP, HEAD = 19, 13, 10, 20
COLOURS = {
    "masterloop": "#1f5fbf",
    "masterloop-workers-2": "#7aa7e8",
    "limit": "#9a9a9a",
    "limit-sqlite": "#6a6a6a",
    "langgraph-dev": "#e08a2b",
    "aegra": "#3d9a63",
    "dbos": "#9566c2",
}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #222 }
.title { font-size: 15px; font-weight: 600 }
.head { font-weight: 600 }
.faint { fill: #666; font-size: 11px }
.range { stroke: #222; stroke-width: 1.2 }
.wanted { stroke: #c0282d; stroke-width: 2 }
.axis { stroke: #bbb }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its range, and where a bound is wanted; ``colour`` is a key of `COLOURS`."""

    name: str
    colour: str
    value: float
    low: float
    high: float
    text: str
    wanted: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Bars below a heading."""

    head: str
    bars: Sequence[Bar]


def chart(title: str, note: str, groups: Sequence[Group], *, logarithmic: bool = False) -> str:
    """Return the SVG of a chart; an empty text without bars."""
    groups = [group for group in groups if group.bars]
    if not groups:
        return ""
    every = [bar for group in groups for bar in group.bars]
    scale = _Scale(every, logarithmic=logarithmic)
    parts: list[str] = []
    y = TOP
    for group in groups:
        if group.head:
            parts.append(_text(12, y + 13, group.head, "head"))
            y += HEAD
        for bar in group.bars:
            parts += _bar(bar, y, scale)
            y += ROW
        y += GAP
    axis = f'<path class="axis" d="M{LEFT} {TOP}V{y - GAP}"/>'
    return "\n".join(
        [
            _opening(title, y),
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{y}" fill="#fff" rx="6"/>',
            _text(12, 20, title, "title"),
            _text(12, 37, note, "faint"),
            axis,
            *parts,
            "</svg>\n",
        ]
    )


class _Scale:
    def __init__(self, bars: Sequence[Bar], *, logarithmic: bool) -> None:
        values = [number for bar in bars for number in (bar.high, bar.value, bar.wanted or 0)]
        least = min((bar.low for bar in bars if bar.low > 0), default=1.0)
        self._logarithmic = logarithmic
        self._low = 10.0 ** math.floor(math.log10(least)) if logarithmic else 0.0
        self._high = max(*values, self._low * 10, 1e-9)

    def at(self, value: float) -> float:
        low, high = self._low, self._high
        if self._logarithmic:
            value, low, high = (math.log10(max(number, low)) for number in (value, low, high))
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _opening(title: str, height: int) -> str:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return f'<svg xmlns="{NAMESPACE}" {size} role="img" aria-label="{escape(title)}">'


def _bar(bar: Bar, y: int, scale: _Scale) -> list[str]:
    end, middle = max(LEFT + 1, scale.at(bar.value)), y + THICK / 2
    parts = [
        f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(bar.name)}</text>',
        f'<path fill="{COLOURS[bar.colour]}" d="M{LEFT} {y}H{end:.1f}v{THICK}H{LEFT}z"/>',
    ]
    if bar.high > bar.low:
        low, high = scale.at(bar.low), scale.at(bar.high)
        parts.append(f'<path class="range" d="M{low:.1f} {middle}H{high:.1f}"/>')
    if bar.wanted is not None:
        at = scale.at(bar.wanted)
        parts.append(f'<path class="wanted" d="M{at:.1f} {y - 2}v{THICK + 4}"/>')
    right = max(end, scale.at(bar.high), scale.at(bar.wanted or 0.0))
    parts.append(_text(right + 6, y + 11, bar.text, ""))
    return parts


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(text)}</text>'
