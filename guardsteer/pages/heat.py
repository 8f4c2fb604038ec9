"""Heat maps and interval plots as inline SVG; every figure is written out, so that no colour is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from guardsteer.pages.charts import described

__all__ = ["Cell", "Interval", "heat", "intervals"]

_CELL, _ROW, _LEFT, _LINE = 70, 25, 46, 13
_WIDEST = 11
_NAME, _LABEL = 24, 52
_SMALLEST = 0.005
_UP, _DOWN = "var(--up,#0b62a4)", "var(--down,#b4441a)"
_DARKEST = 0.62


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure on a map: ``mark`` follows it, ``told`` is shown on pointing at it.

    ``sure`` figures are bold; ``framed`` ones have a frame.
    """

    value: float
    told: str
    sure: bool = False
    mark: str = ""
    framed: bool = False


def heat(
    cells: Mapping[tuple[str, str], Cell],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    row_label: str,
    most: float = 1.0,
    description: str = "",
) -> str:
    """Return a map of ``cells`` by row and column; darker is more, ``most`` and above is darkest.

    Places without a cell stay empty. Raises ``ValueError`` where there is no cell.
    """
    if not cells:
        raise ValueError("a heat map needs at least one cell")
    lines = max(len(_lines(column)) for column in columns)
    left = max(_LEFT, 14 + 7 * max(map(len, rows)))
    top = 8 + _LINE * max(lines, 1)
    width, height = left + _CELL * len(columns), top + _ROW * len(rows) + 2
    parts = [f'<text x="4" y="{top - 6}">{escape(row_label)}</text>']
    for place, column in enumerate(columns):
        parts.extend(_head(column, left + _CELL * (place + 0.5), top - 6))
    for number, row in enumerate(rows):
        y = top + _ROW * number
        parts.append(f'<text x="{left - 10}" y="{y + 17}" text-anchor="end">{escape(row)}</text>')
        for place, column in enumerate(columns):
            cell = cells.get((row, column))
            if cell is not None:
                told = f"{_where(row_label, row)}, {column}: {cell.told}"
                parts.extend(_drawn(cell, left + _CELL * place, y, most, told))
    best = max(cells, key=lambda key: cells[key].value)
    summary = f"Highest: {_where(row_label, best[0])}, {best[1]}, {cells[best].told}."
    # Its own width and a bit more: wider than that it is stretched, narrower it is scrolled.
    style = f"min-width:{min(width, 340) if len(columns) < 6 else width}px;max-width:{width * 1.35:.0f}px"
    svg = described(f"0 0 {width} {height}", title, f"{description} {summary}".strip(), parts, style)
    label = escape(title, quote=True)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="scroll" role="region" tabindex="0" '
        f'aria-label="{label}">{svg}</div></figure>'
    )


def _where(label: str, row: str) -> str:
    return f"{label} {row}".strip()


def _head(text: str, x: float, bottom: float) -> Iterator[str]:
    lines = _lines(text)
    for place, line in enumerate(lines):
        y = bottom - _LINE * (len(lines) - 1 - place)
        yield f'<text x="{x}" y="{y}" text-anchor="middle">{escape(line)}</text>'


def _lines(text: str) -> list[str]:
    return wrap(text, _WIDEST) or [""]


def _drawn(cell: Cell, x: float, y: float, most: float, told: str) -> Iterator[str]:
    share = min(abs(cell.value) / most, 1.0) * _DARKEST
    color = _UP if cell.value >= 0 else _DOWN
    frame = ' style="stroke:currentColor" stroke-width="1.6"' if cell.framed else ""
    yield (
        f'<g class="cell"><title>{escape(told)}</title>'
        f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_ROW - 2}" rx="2" '
        f'fill-opacity="{share:.2f}"{_filled(frame, color)}/>'
    )
    kind = "b" if cell.sure else "dim"
    number = f"{cell.value if abs(cell.value) >= _SMALLEST else 0:+.2f}".replace("-", "\N{MINUS SIGN}")
    number = number.replace("+", "") if not cell.mark else number
    mark = f" {escape(cell.mark)}" if cell.mark else ""
    at = f'x="{x + _CELL / 2}" y="{y + 17}" text-anchor="middle"'
    yield f'<text class="{kind}" {at}>{number}{mark}</text></g>'


def _filled(frame: str, color: str) -> str:
    return frame.replace('style="', f'style="fill:{color};') if frame else f' style="fill:{color}"'


@dataclass(frozen=True, slots=True)
class Interval:
    """A named figure with the ends of its interval."""

    name: str
    value: float
    low: float
    high: float


def intervals(rows: Sequence[Interval], *, title: str, x_label: str) -> str:
    """Return a plot of figures with their intervals, one below the other, about a line at zero.

    Raises ``ValueError`` where there is none.
    """
    if not rows:
        raise ValueError("a plot of intervals needs at least one")
    left = 16 + 7 * min(max(len(row.name) for row in rows), _NAME)
    width, right = 400, 60
    ends = [0.0, *(row.low for row in rows), *(row.high for row in rows)]
    span = (max(ends) - min(ends)) or 1.0

    def x(value: float) -> float:
        return round(left + (value - min(ends)) / span * (width - left - right), 1)

    height = 22 * len(rows) + 24
    parts = [f'<line x1="{x(0)}" x2="{x(0)}" y1="2" y2="{height - 20}" style="stroke:var(--grey,#6b6b6b)"/>']
    for place, row in enumerate(rows):
        y = 22 * place + 14
        sure = row.low > 0 or row.high < 0
        color = _UP if row.value >= 0 else _DOWN
        name = _cut(row.name, _NAME)
        told = f"{row.name}: {row.value:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        parts.append(
            f'<g class="dot"><title>{escape(told)}</title>'
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<line x1="{x(row.low)}" x2="{x(row.high)}" y1="{y}" y2="{y}" stroke-width="2" '
            f'style="stroke:{color}"/><circle cx="{x(row.value)}" cy="{y}" r="3.5" style="fill:{color}"/>'
            f'<text class="{"b" if sure else "dim"}" x="{width - 2}" y="{y + 4}" text-anchor="end">'
            f"{row.value:+.2f}</text></g>"
        )
    at = f'x="{width / 2}" y="{height - 4}" text-anchor="middle"'
    parts.append(f"<text {at}>{escape(_cut(x_label, _LABEL))}</text>")
    told = "; ".join(f"{row.name} {row.value:+.3f} ({row.low:+.3f} to {row.high:+.3f})" for row in rows)
    style = f"max-width:{width * 1.4:.0f}px"
    svg = described(f"0 0 {width} {height}", title, f"{x_label}. {told}.", parts, style)
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
