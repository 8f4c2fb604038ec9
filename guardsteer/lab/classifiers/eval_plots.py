"""Plots of an evaluation as inline SVG: curves in the unit square, and a histogram of delays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from guardsteer.pages.charts import described

__all__ = ["Curve", "delay_bars", "unit_square"]

_SIDE, _LEFT, _BOTTOM, _EDGE = 300, 44, 40, 8
_COLORS = ("#0b62a4", "#b4441a", "#3b7d23", "#7a3e9d", "#8a6d00", "#00716b")
_DASHES = ("", "7 3", "2 2", "9 3 2 3", "5 2 1 2 1 2", "1 3")
_GREY, _BAD = "var(--grey,#6b6b6b)", "var(--no,#b00020)"

_ENDS = (0, 4, 8, 12, 16, 32, 64, 128, 256)
_WIDTH, _HEIGHT, _FOOT, _HEAD = 420, 180, 34, 18


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (x, y), both 0 to 1, in ascending x."""

    name: str
    points: tuple[tuple[float, float], ...]


def unit_square(
    curves: Sequence[Curve], *, title: str, x_label: str, y_label: str, diagonal: str, dots: bool = False
) -> str:
    """Return curves over the unit square with a legend; ``diagonal`` says what its dashed line means."""
    parts = [*_grid(x_label, y_label), _line(((0.0, 0.0), (1.0, 1.0)), _GREY, "4 3")]
    legend = []
    for place, curve in enumerate(curves):
        color, dashes = _look(place)
        parts.append(_line(curve.points, color, dashes))
        if dots:
            parts += [f'<circle cx="{_x(x)}" cy="{_y(y)}" r="3" fill="{color}"/>' for x, y in curve.points]
        legend.append(_key(curve.name, color, dashes))
    legend.append(_key(diagonal, _GREY, "4 3"))
    view = f"0 0 {_LEFT + _SIDE + _EDGE} {_EDGE + _SIDE + _BOTTOM}"
    told = "; ".join(f"{curve.name}: {len(curve.points)} points" for curve in curves)
    svg = described(view, title, f"{y_label} by {x_label}. {told}.", parts)
    keys = f'<ul class="legend">{"".join(legend)}</ul>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}{keys}</figure>"


def delay_bars(delays: Sequence[int | None], title: str) -> str:
    """Return a histogram of delays in tokens: a bar for each range, the last for onsets never heard."""
    names = [str(end) if end - start == 1 else f"{start + 1}–{end}" for start, end in pairwise(_ENDS)]
    counts = [
        sum(delay is not None and start < delay <= end for delay in delays) for start, end in pairwise(_ENDS)
    ]
    names.append("never")
    counts.append(len(delays) - sum(counts))
    step, top = _WIDTH / len(counts), max(*counts, 1)
    parts = []
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        height = (_HEIGHT - _FOOT - _HEAD) * count / top
        y, middle = _HEIGHT - _FOOT - height, (place + 0.5) * step
        fill = _BAD if name == "never" else _look(0)[0]
        parts.append(
            f'<rect x="{place * step + 3:.1f}" y="{y:.1f}" width="{step - 6:.1f}" height="{height:.1f}" '
            f'fill="{fill}"/>'
            f'<text x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{count}</text>'
            f'<text x="{middle:.1f}" y="{_HEIGHT - _FOOT + 14}" text-anchor="middle">{name}</text>'
        )
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 4}" text-anchor="middle">delay in tokens</text>')
    told = ", ".join(f"{name}: {count}" for name, count in zip(names, counts, strict=True))
    svg = described(f"0 0 {_WIDTH} {_HEIGHT}", title, f"Onsets by delay in tokens. {told}.", parts)
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"


def _grid(x_label: str, y_label: str) -> list[str]:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [
            f'<line x1="{_LEFT}" y1="{_y(tick)}" x2="{_LEFT + _SIDE}" y2="{_y(tick)}" stroke="#8884"/>',
            f'<line x1="{_x(tick)}" y1="{_EDGE}" x2="{_x(tick)}" y2="{_EDGE + _SIDE}" stroke="#8884"/>',
            f'<text x="{_LEFT - 5}" y="{_y(tick) + 4}" text-anchor="end">{tick:g}</text>',
            f'<text x="{_x(tick)}" y="{_EDGE + _SIDE + 15}" text-anchor="middle">{tick:g}</text>',
        ]
    middle, below = _EDGE + _SIDE / 2, _EDGE + _SIDE + 33
    parts.append(f'<text x="{_LEFT + _SIDE / 2}" y="{below}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">'
        f"{escape(y_label)}</text>"
    )
    return parts


def _look(place: int) -> tuple[str, str]:
    number = place % len(_COLORS)
    return f"var(--c{number},{_COLORS[number]})", _DASHES[number]


def _key(name: str, color: str, dashes: str) -> str:
    line = (
        f'<line x1="0" y1="5" x2="22" y2="5" stroke="{color}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    )
    drawn = f'<svg viewBox="0 0 24 10" aria-hidden="true" style="width:1.5rem;height:.7rem">{line}</svg>'
    return f"<li>{drawn} {escape(name)}</li>"


def _line(points: Sequence[tuple[float, float]], color: str, dashes: str) -> str:
    path = " ".join(f"{_x(x)},{_y(y)}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"{dashed}/>'


def _x(value: float) -> float:
    return round(_LEFT + value * _SIDE, 1)


def _y(value: float) -> float:
    return round(_EDGE + (1 - value) * _SIDE, 1)
