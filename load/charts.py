"""Lines over time as SVG that stands in a page: no script, no font, no colour of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 34, 26
_TICKS = 5
_NARROW = 7  # pixels of a letter of a legend
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Line:
    """A series: what is called so, and its (time, value) points; None is a gap."""

    label: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Scale:
    """Where values lie between ``low`` and ``high``, in pixels from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Return the round values to mark."""
        if self.logarithmic:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        step = _round_step((self.high - self.low) / _TICKS)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step) + 1)]


def chart(title: str, unit: str, lines: Sequence[Line], *, logarithmic: bool = False) -> str:
    """Return the SVG of a chart; an empty text if there is nothing to show."""
    lines = [line for line in lines if any(value is not None for _, value in line.points)]
    if not lines:
        return ""
    times = [at for line in lines for at, _ in line.points]
    values = [value for line in lines for _, value in line.points if value is not None]
    across = Scale(min(times), max(times) or 1.0, LEFT, WIDTH - RIGHT)
    if across.high <= across.low:
        across = Scale(across.low, across.low + 1, LEFT, WIDTH - RIGHT)
    upright = _upright(values, logarithmic=logarithmic)
    label = escape(f"{title}: at most {max(values):.4g} {unit}".strip())
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">',
            f'<text class="title" x="{LEFT}" y="14">{escape(title)}</text>',
            f'<text class="unit" x="{LEFT - 6}" y="14" text-anchor="end">{escape(unit)}</text>',
            *_grid(across, upright),
            *_legend(lines),
            *(
                f'<path class="line l{number}" d="{_path(line, across, upright)}"/>'
                for number, line in enumerate(lines)
            ),
            "</svg>",
        ]
    )


def _upright(values: Sequence[float], *, logarithmic: bool) -> Scale:
    bottom, top = HEIGHT - BOTTOM, TOP
    if not logarithmic:
        return Scale(min(0.0, *values), max(values) * 1.05 or 1.0, bottom, top)
    least = min((value for value in values if value > 0), default=1.0)
    low = 10.0 ** math.floor(math.log10(least))
    high = 10.0 ** math.ceil(math.log10(max(*values, low * 1.01)))
    return Scale(low, high, bottom, top, logarithmic=True)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step for step in _STEPS if step * power >= rough * 0.999) * power


def _grid(across: Scale, upright: Scale) -> list[str]:
    marks = []
    for value in upright.ticks():
        y = f"{upright.at(value):.1f}"
        marks.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{y}" dy="4" text-anchor="end">{value:,.6g}</text>')
    for value in across.ticks():
        x = f"{across.at(value):.1f}"
        marks.append(f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{value:g} s</text>')
    return marks


def _legend(lines: Sequence[Line]) -> list[str]:
    marks = []
    x = LEFT
    for number, line in enumerate(lines):
        marks.append(f'<path class="line l{number}" d="M{x} 25h16"/>')
        marks.append(f'<text x="{x + 20}" y="29">{escape(line.label)}</text>')
        x += 36 + _NARROW * len(line.label)
    return marks


def _path(line: Line, across: Scale, upright: Scale) -> str:
    parts = []
    drawn = False
    for at, value in line.points:
        if value is not None:
            parts.append(f"{'L' if drawn else 'M'}{across.at(at):.1f} {upright.at(value):.1f}")
        drawn = value is not None
    return "".join(parts)
