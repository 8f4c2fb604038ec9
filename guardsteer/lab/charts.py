"""Line charts as inline SVG: no script, no font, no request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Dot", "Line", "chart"]

_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 40
_COLORS = ("#0b62a4", "#b4441a", "#3b7d23", "#7a3e9d", "#8a6d00", "#00716b")
_GREY = "#8a8a8a"


@dataclass(frozen=True, slots=True)
class Dot:
    """A figure at ``x``, with the ends of its interval where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """Dots of one kind in ascending ``x``; ``control`` lines are grey and dashed."""

    name: str
    dots: tuple[Dot, ...]
    control: bool = False


def chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    window: tuple[float, float] | None = None,
    chosen: float | None = None,
    bound: float | None = None,
    highest: float | None = None,
) -> str:
    """Return an SVG of ``lines`` with a legend.

    ``window`` is shaded, ``chosen`` is a vertical line, ``bound`` a dashed horizontal one; what lies above
    ``highest`` is drawn at its edge. Raises ``ValueError`` where there is no dot.
    """
    dots = [dot for line in lines for dot in line.dots]
    if not dots:
        raise ValueError("a chart needs at least one dot")
    frame = _Frame.around(dots, bound, highest)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
        *(_band(frame, window) if window else ()),
        *_axes(frame, sorted({dot.x for dot in dots}), x_label, y_label),
    ]
    if bound is not None:
        y = frame.y(bound)
        parts.append(_stroke(_LEFT, y, _WIDTH - _RIGHT, y, "#b00020", "6 4"))
    if chosen is not None:
        parts.append(_stroke(frame.x(chosen), _TOP, frame.x(chosen), _HEIGHT - _BOTTOM, "#3b7d23", "2 3"))
    color = iter(_COLORS * (1 + len(lines) // len(_COLORS)))
    legend = []
    for line in lines:
        stroke = _GREY if line.control else next(color)
        parts.extend(_drawn(frame, line, stroke))
        legend.append(f'<li><span style="background:{stroke}"></span>{escape(line.name)}</li>')
    parts.append("</svg>")
    drawn, named = "".join(parts), "".join(legend)
    return f'<figure><figcaption>{escape(title)}</figcaption>{drawn}<ul class="legend">{named}</ul></figure>'


@dataclass(frozen=True, slots=True)
class _Frame:
    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def around(cls, dots: Sequence[Dot], bound: float | None, highest: float | None) -> _Frame:
        ys = [y for dot in dots for y in (dot.y, dot.low, dot.high) if y is not None and math.isfinite(y)]
        ys += [0.0] if bound is None else [bound]
        top = max(ys) if highest is None else min(max(ys), highest)
        bottom = min(min(ys), top)
        room = 0.06 * ((top - bottom) or 1.0)
        xs = [dot.x for dot in dots]
        side = 0.04 * ((max(xs) - min(xs)) or 1.0)
        return cls(min(xs) - side, max(xs) + side, bottom - room, top + room)

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (min(max(value, self.bottom), self.top) - self.bottom) / (self.top - self.bottom)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _ticks(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next((m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6), 10)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]


def _axes(frame: _Frame, xs: Sequence[float], x_label: str, y_label: str) -> Iterator[str]:
    for tick in _ticks(frame.bottom, frame.top):
        y = frame.y(tick)
        yield _stroke(_LEFT, y, _WIDTH - _RIGHT, y, "#8884" if tick else "#888", "")
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>'
    last = -math.inf
    for value in xs:
        if frame.x(value) - last >= 28:
            last = frame.x(value)
            yield f'<text x="{last}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
    yield f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{escape(y_label)}</text>"
    )


def _band(frame: _Frame, window: tuple[float, float]) -> Iterator[str]:
    left, right = frame.x(window[0]), frame.x(window[1])
    width = max(right - left, 4.0)
    yield (
        f'<rect x="{left}" y="{_TOP}" width="{width:.1f}" height="{_HEIGHT - _TOP - _BOTTOM}" '
        f'fill="#3b7d23" fill-opacity="0.14"/>'
    )


def _drawn(frame: _Frame, line: Line, color: str) -> Iterator[str]:
    path = " ".join(f"{frame.x(dot.x)},{frame.y(dot.y)}" for dot in line.dots)
    dashes = ' stroke-dasharray="4 3"' if line.control else ""
    yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"{dashes}/>'
    for dot in line.dots:
        x = frame.x(dot.x)
        if dot.low is not None and dot.high is not None:
            yield _stroke(x, frame.y(dot.low), x, frame.y(dot.high), color, "")
        told = f"{line.name}: {dot.y:.4g} at {dot.x:g}"
        if dot.low is not None and dot.high is not None:
            told += f" ({dot.low:.4g} to {dot.high:.4g})"
        place = f'cx="{x}" cy="{frame.y(dot.y)}"'
        yield f'<circle {place} r="3" fill="{color}"><title>{escape(told)}</title></circle>'


def _stroke(x1: float, y1: float, x2: float, y2: float, color: str, dashes: str) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}"{dashed}/>'
