"""Pictures that a Markdown page can show, in light and in dark: charts of the lab, and texts with scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

__all__ = ["save_picture", "save_trace"]

_WIDTH, _CHART, _LINE = 560, 336, 20
_COLORS = ("#0b62a4", "#b4441a", "#3b7d23", "#7a3e9d", "#8a6d00", "#00716b")
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}svg svg text,.small{font-size:10px}"
    ".title{font-weight:600}.paper{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.paper{fill:#111}}"
)


def save_picture(path: Path, figures: Sequence[tuple[str, str, Sequence[str]]]) -> Path:
    """Write charts one below the other: a title, what ``lab.charts.chart`` gave, and its lines' names each.

    Names stand in the colours that the chart gave them; a name in brackets is that of controls, and grey.
    """
    parts: list[str] = []
    top = 0
    for title, figure, names in figures:
        drawn = figure[figure.index("<svg") : figure.index("</svg>") + len("</svg>")]
        placed = f'<svg x="0" y="{top + 26}" width="{_WIDTH}" height="{_CHART}" '
        parts += [_title(title, top), drawn.replace("<svg ", placed, 1)]
        top += 26 + _CHART + _LINE * len(names) + 14
        parts += _named(names, top - _LINE * len(names) - 2)
    return _save(path, parts, top)


def save_trace(path: Path, title: str, traces: Sequence[tuple[Sequence[str], Sequence[float]]]) -> Path:
    """Write texts with a score at each token: the higher, the deeper the colour; the figure stands below."""
    parts: list[str] = [_title(title, 0)]
    x, y = 8.0, 34.0
    for tokens, scores in traces:
        for token, score in zip(tokens, scores, strict=True):
            shown = token.strip() or "·"
            width = max(8.2 * len(shown), 26.0) + 6
            if x + width > _WIDTH - 8:
                x, y = 8.0, y + 44
            where = f'x="{x:.1f}" y="{y:.1f}" width="{width - 3:.1f}" height="22" rx="3"'
            told = escape(f"{shown}: {score:.2f}")
            parts.append(
                f'<g><title>{told}</title><rect {where} fill="#e07a1f" fill-opacity="{score:.2f}"/>'
                f'<text x="{x + 4:.1f}" y="{y + 16:.1f}">{escape(shown)}</text>'
                f'<text class="small" x="{x + 4:.1f}" y="{y + 34:.1f}">{score:.2f}</text></g>'
            )
            x += width
        x, y = 8.0, y + 62
    return _save(path, parts, y)


def _title(text: str, top: float) -> str:
    return f'<text class="title" x="8" y="{top + 18:.0f}">{escape(text)}</text>'


def _named(names: Sequence[str], top: int) -> Iterator[str]:
    colors = iter(_COLORS)
    for number, name in enumerate(names):
        color = "#8a8a8a" if name.startswith("(") else next(colors)
        spot = f'<tspan style="fill:{color}">&#9679;</tspan>'
        yield f'<text x="78" y="{top + _LINE * number}">{spot} {escape(name.strip("()"))}</text>'


def _save(path: Path, parts: Sequence[str], height: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}"><style>{_STYLE}</style><rect class="paper" width="100%" height="100%"/>'
        f"{''.join(parts)}</svg>\n",
        encoding="utf-8",
    )
    return path
