"""Whole pages that load nothing: one HTML file each, styles within, no script and no request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

__all__ = ["card", "facts", "page", "plots", "save_page", "table", "unfold", "verdict"]

_ALLOWED = "default-src 'none'; style-src 'unsafe-inline'"
_SHORT, _LONG = 34, 60
"""Characters up to which a cell stays on one line, and from which on it has a width of its own."""
_STYLE = """
:root{color-scheme:light dark;--ok:#2f6b1c;--no:#b00020;--grey:#6b6b6b;--line:#8885;
--c0:#0b62a4;--c1:#b4441a;--c2:#3b7d23;--c3:#7a3e9d;--c4:#8a6d00;--c5:#00716b;--up:#0b62a4;--down:#b4441a}
@media (prefers-color-scheme:dark){:root{--ok:#7cc465;--no:#ff8a80;--grey:#a5a5a5;
--c0:#6db5f2;--c1:#f29a72;--c2:#8fce76;--c3:#cf9bef;--c4:#dcbc4c;--c5:#57c9c1;--up:#3f8fd6;--down:#d1663a}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1.2rem 1rem 3rem;
overflow-wrap:break-word}
h1{font-size:1.4rem;line-height:1.25}h2{font-size:1.1rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
a{color:var(--c0)}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9em}
caption{text-align:left;color:var(--grey);padding:.2rem 0}
th,td{padding:.25rem .45rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{border-bottom-width:2px}td.fig{white-space:nowrap}td.text{min-width:14rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1.2rem 1.6rem}
.plots.one{grid-template-columns:minmax(0,1fr);margin:1.2rem 0}
.plots.two{grid-template-columns:repeat(auto-fit,minmax(min(27rem,100%),1fr));margin:1.2rem 0}
figure{margin:0;min-width:0}figcaption{font-weight:600;margin-bottom:.2rem}
svg{display:block;width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:currentColor}
svg .b{font-weight:700}svg .dim{opacity:.8}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;margin:.2rem 0 0;
font-size:.85rem}
.legend svg{display:inline-block;width:1.7rem;height:.8rem;margin-right:.3rem;vertical-align:-.1rem}
.verdict{padding:.6rem .8rem;border-left:.35rem solid var(--ok);background:#8881}
.verdict.no{border-color:var(--no)}.verdict p{margin:.2rem 0}.verdict+.plots{margin-top:1.2rem}
.verdict ul{margin:.3rem 0;padding-left:1.2rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(10rem,100%),1fr));gap:.6rem;
margin:1rem 0}
.facts div{border:1px solid var(--line);border-radius:4px;padding:.4rem .6rem}
.facts dt{color:var(--grey);font-size:.85rem}.facts dd{margin:0;font-size:1.1rem;font-weight:600}
.facts dd small{display:block;font-weight:400;font-size:.8rem;color:var(--grey)}
tr.in{background:#3b7d2326}tr.in td:first-child{font-weight:700}
.card{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}
.card dt{color:var(--grey)}.card dd{margin:0;overflow-wrap:anywhere}
code{font-size:.85em;overflow-wrap:anywhere}.note{color:var(--grey);max-width:48rem}
.more{margin:.4rem 0 0}
details summary{cursor:pointer;font-weight:600;margin:2rem 0 .5rem;font-size:1.1rem}
details.more summary{font-size:.86rem;margin:.2rem 0;font-weight:400}
"""


def page(title: str, body: Iterable[str], *, style: str = "") -> str:
    """Return a whole page; ``body`` holds markup, ``title`` plain text, ``style`` what the page adds."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body><main><h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def save_page(path: Path, text: str) -> Path:
    """Write a page and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def verdict(ok: bool, told: str, more: Sequence[str] = (), reasons: Sequence[str] = ()) -> str:
    """Return what a reader must know first: what was found, then sentences, then a list; plain text."""
    sentences = "".join(f"<p>{escape(each)}</p>" for each in more)
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    listed = f"<ul>{listed}</ul>" if listed else ""
    mark = "" if ok else " no"
    return f'<div class="verdict{mark}"><p><strong>{escape(told)}</strong></p>{sentences}{listed}</div>'


def facts(rows: Iterable[tuple[str, str, str]]) -> str:
    """Return figures side by side: for each a name, the figure, and a remark below it; plain text."""
    told = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(figure)}<small>{escape(remark)}</small></dd></div>"
        for name, figure, remark in rows
    )
    return f'<dl class="facts">{told}</dl>'


def card(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and what they stand for, one below the other; plain text."""
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f'<dl class="card">{told}</dl>'


def plots(figures: Iterable[str], *, columns: int = 0) -> str:
    """Return figures in a grid, as many beside each other as fit, or 1 or 2; nothing where there is none."""
    drawn = "".join(figures)
    kind = {1: "plots one", 2: "plots two"}.get(columns, "plots")
    return f'<div class="{kind}">{drawn}</div>' if drawn else ""


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = (), caption: str = ""
) -> str:
    """Return a table of plain text; ``marked`` rows stand out. It scrolls by itself when too wide."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = []
    for place, row in enumerate(rows):
        mark = ' class="in"' if place < len(marked) and marked[place] else ""
        body.append(f"<tr{mark}>{''.join(map(_cell, row))}</tr>")
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or ", ".join(heads), quote=True)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>{told}'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def unfold(summary: str, body: str) -> str:
    """Return ``body`` (markup) behind a line of plain text that unfolds it."""
    return f'<details class="more"><summary>{escape(summary)}</summary>{body}</details>'


def _cell(text: str) -> str:
    kind = ' class="text"' if len(text) > _LONG else ' class="fig"' if len(text) <= _SHORT else ""
    return f"<td{kind}>{escape(text)}</td>"
