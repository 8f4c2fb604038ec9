"""Tokens shaded by what acted when they were chosen: tint, letter and kind of line for each vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from guardsteer.audit import Activation
from guardsteer.pages.lanes import LOOKS
from guardsteer.report.row_view import strength_text

__all__ = ["SHADING_STYLE", "Shading", "Token", "told_range"]

_MOST_TINT, _LEAST_TINT = 38, 12

SHADING_STYLE = """
.said{border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;margin:.5rem 0;white-space:pre-wrap;
overflow-wrap:anywhere;line-height:2.05;font-size:1.02rem}
.said.prompt{font-size:.92rem;line-height:1.9;background:#8881}
.said .lead{display:block;font:600 .8rem/1.4 system-ui,sans-serif;color:var(--grey);white-space:normal}
.run{border-radius:3px;padding:.16em 0 .2em;background:var(--tint);cursor:default}
.run:focus-visible{outline:2px solid currentColor;outline-offset:2px}
.run:has(.t:hover)::after{display:none}
.run .tag{font:700 .68rem/1 system-ui,sans-serif;vertical-align:super;color:var(--ink);padding:0 .15em}
.u{text-decoration-line:underline;text-decoration-color:var(--c);text-decoration-thickness:2px;
text-underline-offset:var(--o);text-decoration-skip-ink:none}
.u.p0{text-decoration-style:solid}.u.p1{text-decoration-style:dashed}.u.p2{text-decoration-style:dotted}
.u.p3{text-decoration-style:double}.u.p4{text-decoration-style:wavy;text-decoration-thickness:1.5px}
.u.p5{text-decoration-line:underline overline}
.t:hover{background:color-mix(in srgb,var(--ink) 18%,transparent);border-radius:2px}
.num .t{font-variant-numeric:tabular-nums;font-size:.82rem;padding:0 .12rem}
.happened{font:600 .76rem/1 system-ui,sans-serif;border:1px solid var(--no);color:var(--no);border-radius:3px;
padding:.1rem .3rem;margin:0 .2rem;white-space:nowrap;text-decoration:none}
.hid{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.keys{list-style:none;padding:0;margin:.4rem 0;display:flex;flex-wrap:wrap;gap:.25rem 1.3rem;font-size:.9rem}
.keys .run{padding:.1em .45em}
@media print{.run{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


@dataclass(frozen=True, slots=True)
class Token:
    """A token at ``position``, chosen in ``step``: its text, and what acted in the pass that chose it."""

    position: int
    step: int
    piece: str
    active: tuple[Activation, ...]
    prompt: bool = False

    @property
    def kind(self) -> tuple[tuple[str, float, str], ...]:
        """What acted, as runs of equal tokens go by."""
        return tuple((each.name, each.strength, each.began.rule) for each in self.active)


class Shading:
    """Draws tokens under the letters, looks and tints of a row's vectors."""

    def __init__(self, letters: dict[str, str], most: float) -> None:
        self._letters = letters
        self._looks = {vector: place % LOOKS for place, vector in enumerate(letters)}
        self._most = most

    def tokens(self, tokens: Sequence[Token], marks: dict[int, list[tuple[str, str]]]) -> str:
        """Return tokens in runs over which the same acted; ``marks`` stand before the token at a position."""
        parts: list[str] = []
        starts = set(marks)
        for _, group in groupby(_numbered(tokens, starts), key=lambda each: (each[0], each[1].kind)):
            run = [token for _, token in group]
            parts += [_mark(*each) for each in marks.get(run[0].position, ())]
            parts.append(self._run(run))
        beyond = [
            each
            for position in marks
            if not tokens or position > tokens[-1].position
            for each in marks[position]
        ]
        return "".join([*parts, *(_mark(*each) for each in beyond)])

    def _run(self, run: Sequence[Token]) -> str:
        active = run[0].active
        inside = "".join(_token(token) for token in run)
        if not active:
            return inside
        for place, each in enumerate(active):
            look = self._looks[each.began.vector]
            inside = (
                f'<span class="u c{look} p{look}" style="--o:{0.28 + 0.22 * place:.2f}em">{inside}</span>'
            )
        told = "; ".join(strength_text(each.began) for each in active)
        tag = "".join(self._tag(each) for each in active)
        style = f'style="--tint:{self._tint(active)}"'
        return (
            f'<span class="run has" tabindex="0" data-t="{escape(_run_told(run))}" {style}>'
            f'<span class="hid">[{escape(told)}: </span>'
            f'<span class="tag" aria-hidden="true">{escape(tag)}</span>'
            f'{inside}<span class="hid">] </span></span>'
        )

    def _tag(self, each: Activation) -> str:
        sign = (
            "\N{MINUS SIGN}"
            if each.strength < 0
            else "+"
            if each.began.operator in ("add", "subtract")
            else ""
        )
        return f"{self._letters[each.began.vector]}{sign}"

    def _tint(self, active: Sequence[Activation]) -> str:
        tints = []
        for each in active:
            share = _LEAST_TINT + (_MOST_TINT - _LEAST_TINT) * min(abs(each.strength) / self._most, 1.0)
            tints.append(
                f"color-mix(in srgb,var(--c{self._looks[each.began.vector]}) {share:.0f}%,transparent)"
            )
        if len(tints) == 1:
            return tints[0]
        size = 100 / len(tints)
        bands = [f"{tint} {size * place:.0f}% {size * (place + 1):.0f}%" for place, tint in enumerate(tints)]
        return f"linear-gradient(180deg,{','.join(bands)})"

    def keys(self, tokens: Sequence[Token]) -> str:
        """Return what each letter stands for, and for how many tokens it acted at which strengths."""
        found: dict[tuple[str, float], int] = {}
        acts: dict[tuple[str, float], Activation] = {}
        for token in tokens:
            for each in token.active:
                key = (each.name, each.strength)
                found[key] = found.get(key, 0) + (not token.prompt)
                acts[key] = each
        if not found:
            return '<p class="note">Nothing acted on a token of this row.</p>'
        items = []
        for key, count in found.items():
            each = acts[key]
            look = self._looks[each.began.vector]
            style = f'style="--o:.28em;--tint:{self._tint([each])}"'
            sample = f'<span class="run u c{look} p{look}" {style}>{escape(self._tag(each))}</span>'
            tokens_told = f"{count} token" if count == 1 else f"{count} tokens"
            items.append(f"<li>{sample} {escape(strength_text(each.began))}, {tokens_told}</li>")
        return f'<ul class="keys">{"".join(items)}</ul>'


def _numbered(tokens: Sequence[Token], starts: set[int]) -> Iterator[tuple[int, Token]]:
    """Yield tokens with a number that changes where a mark must stand."""
    number = 0
    for token in tokens:
        number += token.position in starts
        yield number, token


def _mark(short: str, told: str) -> str:
    whole = escape(told)
    return (
        f'<span class="happened has" tabindex="0" role="note" data-t="{whole}">{escape(short)}'
        f'<span class="hid">: {whole}</span></span>'
    )


def _token(token: Token) -> str:
    return f'<span class="t has" data-t="{escape(_token_told(token))}">{escape(token.piece)}</span>'


def _token_told(token: Token) -> str:
    active = (
        "\n".join(f"{strength_text(each.began)} for {each.began.rule}" for each in token.active)
        or "nothing acted"
    )
    if token.prompt:
        return f"prompt token at position {token.position}\n{active}"
    where = f"in step {token.step} by the pass over position {token.position - 1}"
    return f"token at position {token.position}, chosen {where}\n{active}"


def _run_told(run: Sequence[Token]) -> str:
    first, last = run[0], run[-1]
    active = "\n".join(f"{strength_text(each.began)} for {each.began.rule}" for each in first.active)
    where = "prompt tokens" if first.prompt else "tokens"
    places = f"{told_range(first.position, last.position)}, steps {told_range(first.step, last.step)}"
    return f"{where} at positions {places}\n{active}"


def told_range(first: int, last: int) -> str:
    """Return a range in words, or the one number that it is."""
    return str(first) if first == last else f"{first} to {last}"
