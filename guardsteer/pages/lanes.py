"""Lanes over one shared axis: what was so from where to where, one lane below the other, as HTML and CSS.

No script and no picture: text keeps its size on a small screen, a lane is as wide as the page. What a mark
means is in its form, its letter and its name as well as in its colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from guardsteer.pages.page import unfold

__all__ = ["LANES_STYLE", "LOOKS", "Lane", "Level", "Mark", "Tick", "lanes"]

LOOKS = 6
"""How many colours with patterns there are; look 6 is look 0 again."""
_NO_ROOM, _EDGE, _SHORT = 0.75, 0.1, 4
_MOST_STOPS = 40
"""A lane with more marks is one stop of the keyboard, not one for each."""

LANES_STYLE = """
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.lanes{margin:1.4rem 0 2rem}.lanes h3{margin:0 0 .2rem}.lanes>.note{margin:.1rem 0 .5rem}
.lane{display:grid;grid-template-columns:11.5rem minmax(0,1fr);gap:0 .9rem;align-items:center;
padding:.22rem 0;border-top:1px solid var(--line)}
.lane>.name{font-size:.86rem;line-height:1.25;font-weight:600;overflow-wrap:anywhere}
.lane>.name small{display:block;font-weight:400;color:var(--grey);font-size:.92em}
.track{position:relative;height:1.15rem}.track.tall{height:3.4rem}.track.mid{height:2.2rem}.track.both{height:4.4rem}
.track:focus-visible,.m:focus-visible{outline:2px solid currentColor;outline-offset:1px}
.track>*{position:absolute;display:block}
.g{top:0;bottom:0;width:1px;background:var(--line);opacity:.6}
.level{left:0;right:0;height:0;z-index:1;pointer-events:none;border-top:1px dashed var(--grey)}
.level.two{border-top-style:dotted}
.level span{position:absolute;right:0;bottom:0;font:400 .7rem/1.1 system-ui,sans-serif;color:var(--grey);
background:color-mix(in srgb,var(--paper) 80%,transparent);padding:0 .15rem}
.level.high span{bottom:auto;top:1px}
.floor{left:0;right:0;height:0;border-top:1px solid var(--line)}
.m{min-width:3px;min-height:3px;cursor:default}
.bar{background-color:var(--c);border-radius:2px}
.p1.bar{background-image:repeating-linear-gradient(45deg,transparent 0 4px,var(--paper) 4px 6px)}
.p2.bar{background-image:repeating-linear-gradient(90deg,transparent 0 4px,var(--paper) 4px 5px)}
.p3.bar{background-image:radial-gradient(var(--paper) 1.1px,transparent 1.3px);background-size:6px 6px}
.p4.bar{background-image:repeating-linear-gradient(-45deg,transparent 0 3px,var(--paper) 3px 5px)}
.p5.bar{background-image:repeating-linear-gradient(0deg,transparent 0 4px,var(--paper) 4px 5px)}
.bar.ghost{background:none;border:1.5px dashed var(--c)}
.soft{background:color-mix(in srgb,var(--c) 28%,transparent);border-left:1px solid var(--c)}
.box{border:1.5px solid var(--c);background:color-mix(in srgb,var(--c) 22%,transparent)}
.stem{width:0;min-width:0;border-left:1.5px solid var(--c)}
.dot,.cross,.halt,.cut{width:.7rem;height:.7rem;margin:0 0 -.35rem -.35rem}
.dot::before{content:"";position:absolute;inset:0;border-radius:50%;background:var(--c);
border:1.5px solid var(--paper)}
.dot.p1::before{border-radius:0}.dot.p2::before{border-radius:0;rotate:45deg;inset:1px}
.dot.p3::before{border-radius:50% 50% 0 0}.dot.p4::before{border-radius:0 50%}
.dot.p5::before{border-radius:50% 0}
.dot.ghost::before{background:var(--paper);border-color:var(--c)}
.cross::before,.halt::before,.cut::before{position:absolute;inset:-.45rem;text-align:center;font-weight:700;
line-height:1.55rem;color:var(--no)}
.cross::before{content:"\\00d7"}.halt::before{content:"\\25a0"}.cut::before{content:"\\21b6"}
.rule{width:0;min-width:0;border-left:2px solid var(--no)}
.m>span{position:absolute;left:.25rem;right:0;top:50%;translate:0 -50%;overflow:hidden;white-space:nowrap;
font-size:.78rem;line-height:1;pointer-events:none}
.soft>span{color:inherit}
.axis{border-top:1px solid var(--grey)}.axis .track{height:1.1rem}
.axis .tick{font-size:.78rem;color:var(--grey);translate:-50% 0;white-space:nowrap}
.axis .tick.first{translate:0 0}.axis .tick.last{translate:-100% 0}
.axis>.name{font-weight:400;color:var(--grey)}
.m:hover::after,.m:focus-visible::after,.track:focus-visible::after,.has:hover::after,.has:focus-visible::after{
position:fixed;z-index:9;left:0;right:0;bottom:0;padding:.6rem max(1rem,calc(50vw - 35rem));
font:400 .9rem/1.4 system-ui,sans-serif;white-space:pre-line;text-align:left;color:var(--ink);
background:var(--panel);border-top:2px solid var(--ink);box-shadow:0 -4px 18px #0004;pointer-events:none;
height:auto;margin:0;text-transform:none;text-decoration:none;max-height:45vh;overflow:hidden}
.m:hover::after,.m:focus-visible::after,.track:focus-visible::after{content:attr(aria-label);
content:attr(aria-label) / ""}
.has:hover::after,.has:focus-visible::after{content:attr(data-t);content:attr(data-t) / ""}
.m:hover::after,.has:hover::after{z-index:10}
@media (max-width:40rem){.lane{grid-template-columns:minmax(0,1fr);padding:.35rem 0}
.lane>.name small{display:inline;margin-left:.4rem}.axis .tick.minor{display:none}}
@media (forced-colors:active){.m,.g,.level{forced-color-adjust:none}}
@media print{.lane{break-inside:avoid}.m,.g,.level{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something between ``left`` and ``right``, shares of the lane's width, that tells what it is.

    ``low`` and ``high`` are shares of the lane's height, from its floor. ``kind`` is a bar, a soft one, a
    box, a stem (at ``left``, from ``low`` to ``high``), or a point at ``left`` and ``low``: a dot, a cross
    (missing), a halt, a cut (taken back), a rule (a line over the lane). ``ghost``: what would have been.
    ``text`` stands inside.
    """

    left: float
    right: float
    told: str
    kind: Literal["bar", "soft", "box", "stem", "dot", "cross", "halt", "cut", "rule"] = "bar"
    low: float = 0.0
    high: float = 1.0
    look: int = 0
    ghost: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """A line across a lane at a share of its height, with its figure at the end: a threshold, say."""

    height: float
    text: str
    second: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    """A name, a remark below it, and marks; ``told`` is the whole lane in a sentence."""

    name: str
    marks: tuple[Mark, ...]
    told: str
    remark: str = ""
    levels: tuple[Level, ...] = ()
    size: Literal["", "mid", "tall", "both"] = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on the axis, a share of its width; ``minor`` ones are left out where there is little room."""

    place: float
    text: str
    minor: bool = False


def lanes(
    title: str, shown: Sequence[Lane], ticks: Sequence[Tick], *, axis: str, note: str = "", table: str = ""
) -> str:
    """Return lanes with one axis below them and ``table`` (markup, with the same figures) to unfold.

    Nothing where there is no lane. All else is plain text.
    """
    if not shown:
        return ""
    grid = "".join(f'<i class="g" style="left:{_share(tick.place)}"></i>' for tick in ticks)
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    body = "".join(_lane(lane, grid) for lane in shown)
    more = unfold(f"{title}, as a table", table) if table else ""
    name = escape(title)
    return (
        f'<figure class="lanes" aria-label="{name}"><figcaption><h3>{name}</h3></figcaption>'
        f"{told}{body}{_axis(ticks, axis)}{more}</figure>"
    )


def _lane(lane: Lane, grid: str) -> str:
    remark = f"<small>{escape(lane.remark)}</small>" if lane.remark else ""
    stops = len(lane.marks) <= _MOST_STOPS
    inside = grid + "".join(_levels(lane.levels)) + "".join(_mark(mark, stops) for mark in lane.marks)
    size = f" {lane.size}" if lane.size else ""
    told = escape(lane.told)
    return (
        f'<div class="lane"><div class="name">{escape(lane.name)}{remark}</div>'
        f'<div class="track{size}" role="group" tabindex="0" aria-label="{told}">{inside}</div></div>'
    )


def _levels(levels: Iterable[Level]) -> Iterator[str]:
    yield '<i class="floor" style="bottom:0"></i>'
    for level in levels:
        kind = "level two" if level.second else "level"
        # Below the line where there is no room above it.
        kind += " high" if level.height > _NO_ROOM else ""
        text = escape(level.text)
        yield f'<i class="{kind}" style="bottom:{_share(level.height)}"><span>{text}</span></i>'


def _mark(mark: Mark, stops: bool) -> str:
    place = f"left:{_share(mark.left)};bottom:{_share(mark.low)}"
    if mark.kind in ("bar", "soft", "box"):
        place += f";width:{_share(mark.right - mark.left)};height:{_share(mark.high - mark.low)}"
    elif mark.kind in ("stem", "rule"):
        place += f";height:{_share(mark.high - mark.low)}"
    look = mark.look % LOOKS
    ghost = " ghost" if mark.ghost else ""
    stop = ' tabindex="0"' if stops else ""
    text = f'<span aria-hidden="true">{escape(mark.text)}</span>' if mark.text else ""
    return (
        f'<b class="m {mark.kind} c{look} p{look}{ghost}" style="{place}" role="img"{stop} '
        f'aria-label="{escape(mark.told)}">{text}</b>'
    )


def _axis(ticks: Sequence[Tick], label: str) -> str:
    shown = []
    for tick in ticks:
        near = _EDGE if len(tick.text) > _SHORT else _EDGE / 5
        edge = " first" if tick.place < near else " last" if tick.place > 1 - near else ""
        minor = " minor" if tick.minor else ""
        text = escape(tick.text)
        shown.append(f'<span class="tick{edge}{minor}" style="left:{_share(tick.place)}">{text}</span>')
    return (
        f'<div class="lane axis"><div class="name">{escape(label)}</div>'
        f'<div class="track" aria-hidden="true">{"".join(shown)}</div></div>'
    )


def _share(value: float) -> str:
    return f"{min(max(value, 0.0), 1.0) * 100:.3f}".rstrip("0").rstrip(".") + "%"
