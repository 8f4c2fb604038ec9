"""Line charts as inline SVG: no script, no font, no request; told apart by shape as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from guardsteer.core.digests import digest_bytes

__all__ = ["Dot", "Line", "chart", "described"]

_WIDTH, _HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 10, 10, 40
# What a page calls them, which has others for a dark ground, and what they are elsewhere.
_COLORS = ("#0b62a4", "#b4441a", "#3b7d23", "#7a3e9d", "#8a6d00", "#00716b")
_GREY = "#6b6b6b"
_SHAPES = (
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "M-3-3H3V3H-3z",
    "M0-4L3.6 3H-3.6z",
    "M0-4.2L4.2 0L0 4.2L-4.2 0z",
    "M0 4L3.6-3H-3.6z",
    "M-4-1H-1V-4H1V-1H4V1H1V4H-1V1H-4z",
)


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
    """Return an SVG of ``lines`` with a legend where there are several.

    ``window`` is shaded, ``chosen`` is a vertical line, ``bound`` a dashed horizontal one; what lies above
    ``highest`` is drawn at its edge. Raises ``ValueError`` where there is no dot.
    """
    dots = [dot for line in lines for dot in line.dots]
    if not dots:
        raise ValueError("a chart needs at least one dot")
    frame = _Frame.around(dots, bound, highest)
    parts = [
        *(_band(frame, window) if window else ()),
        *_axes(frame, sorted({dot.x for dot in dots}), x_label, y_label),
    ]
    if bound is not None:
        parts.append(_stroke(_LEFT, frame.y(bound), _WIDTH - _RIGHT, frame.y(bound), _paint("no"), "6 4"))
    if chosen is not None:
        parts.append(_stroke(frame.x(chosen), _TOP, frame.x(chosen), _HEIGHT - _BOTTOM, _paint("ok"), "2 3"))
    legend = []
    looks = list(_looks(lines))
    # Controls first, so that what is measured lies on top of them.
    for line, look in sorted(zip(lines, looks, strict=True), key=lambda pair: not pair[0].control):
        parts.extend(_drawn(frame, line, look))
    seen = set()
    for line, look in zip(lines, looks, strict=True):
        name = "random vectors" if line.control else line.name
        if name not in seen:
            legend.append(f"<li>{_key(line, look)}{escape(name)}</li>")
        seen.add(name)
    told = "; ".join(filter(None, [*map(_told, lines), *_told_marks(window, chosen, bound)]))
    svg = described(f"0 0 {_WIDTH} {_HEIGHT}", title, f"{y_label} by {x_label}. {told}.", parts)
    keys = f'<ul class="legend">{"".join(legend)}</ul>' if len(lines) > 1 else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}{keys}</figure>"


def described(view: str, title: str, description: str, parts: Sequence[str], style: str = "") -> str:
    """Return an SVG of ``parts`` with a title and a description that a screen reader tells."""
    inside = "".join(parts)
    name = digest_bytes(f"{title}{description}{inside}".encode())[3:13]
    styled = f' style="{style}"' if style else ""
    return (
        f'<svg viewBox="{view}" role="img" aria-labelledby="t{name} d{name}"{styled} '
        f'xmlns="http://www.w3.org/2000/svg"><title id="t{name}">{escape(title)}</title>'
        f'<desc id="d{name}">{escape(description)}</desc>{inside}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Look:
    color: str
    shape: str
    dashes: str


def _looks(lines: Sequence[Line]) -> Iterator[_Look]:
    place = 0
    for line in lines:
        if line.control:
            yield _Look(_paint("grey"), _SHAPES[0], "4 3")
            continue
        yield _Look(_paint(f"c{place % len(_COLORS)}"), _SHAPES[place % len(_SHAPES)], "")
        place += 1


def _paint(name: str) -> str:
    """Return a colour as a page names it, with what it is where no page does."""
    plain = {"ok": "#2f6b1c", "no": "#b00020", "grey": _GREY}
    return f"var(--{name},{plain.get(name) or _COLORS[int(name[1:])]})"


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
        if frame.x(value) - last >= 30:
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
        f'fill="#3b7d23" fill-opacity="0.18"/>'
    )


def _drawn(frame: _Frame, line: Line, look: _Look) -> Iterator[str]:
    path = " ".join(f"{frame.x(dot.x)},{frame.y(dot.y)}" for dot in line.dots)
    dashes = f' stroke-dasharray="{look.dashes}"' if look.dashes else ""
    yield f'<polyline points="{path}" fill="none" style="stroke:{look.color}" stroke-width="1.6"{dashes}/>'
    for dot in line.dots:
        x = frame.x(dot.x)
        if dot.low is not None and dot.high is not None:
            yield _stroke(x, frame.y(dot.low), x, frame.y(dot.high), look.color, "")
        place = f'transform="translate({x} {frame.y(dot.y)})"'
        told = escape(f"{line.name}: {_figure(dot)} at {dot.x:g}")
        fill = f'style="fill:{look.color}"'
        yield f'<path class="dot" {place} d="{look.shape}" {fill}><title>{told}</title></path>'


def _key(line: Line, look: _Look) -> str:
    dashes = f' stroke-dasharray="{look.dashes}"' if line.control else ""
    return (
        '<svg viewBox="-14 -6 28 12" aria-hidden="true" xmlns="http://www.w3.org/2000/svg">'
        f'<line x1="-13" x2="13" y1="0" y2="0" style="stroke:{look.color}" stroke-width="1.6"{dashes}/>'
        f'<path d="{look.shape}" style="fill:{look.color}"/></svg>'
    )


def _told(line: Line) -> str:
    if not line.dots or line.control:
        return ""
    first, last = line.dots[0], line.dots[-1]
    best = max(line.dots, key=lambda dot: dot.y)
    return (
        f"{line.name}: {_figure(first)} at {first.x:g}, {_figure(last)} at {last.x:g}, "
        f"highest {_figure(best)} at {best.x:g}"
    )


def _told_marks(
    window: tuple[float, float] | None, chosen: float | None, bound: float | None
) -> Iterator[str]:
    if window is not None:
        yield f"usable from {window[0]:g} to {window[1]:g}"
    if chosen is not None:
        yield f"recommended {chosen:g}"
    if bound is not None:
        yield f"bound {bound:g}"


def _figure(dot: Dot) -> str:
    ends = "" if dot.low is None or dot.high is None else f" ({dot.low:.4g} to {dot.high:.4g})"
    return f"{dot.y:.4g}{ends}"


def _stroke(x1: float, y1: float, x2: float, y2: float, color: str, dashes: str) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" style="stroke:{color}"{dashed}/>'
