"""Tokens shaded by what acted when they were chosen: tint, letter and kind of line for each vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from guardsteer.audit import Activation
from guardsteer.pages.lanes import LOOKS
from guardsteer.report.row_view import ends_text, strength_text

__all__ = ["MOST_TINT", "SHADING_STYLE", "Shading", "Token", "told_range"]

MOST_TINT, _LEAST_TINT = 38, 12
"""How much of a vector's colour the strongest and the weakest of its tokens have, in percent."""

SHADING_STYLE = """
.said{border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;margin:.5rem 0;white-space:pre-wrap;
overflow-wrap:anywhere;line-height:2.05;font-size:1.02rem}
.said.prompt{font-size:.92rem;line-height:1.9;background:#8881}
.said .lead{display:block;font:600 .8rem/1.4 system-ui,sans-serif;color:var(--grey);white-space:normal}
.run{cursor:default}.t,.tag{padding:.16em 0 .2em;background:var(--tint,transparent)}
.tag{border-radius:3px 0 0 3px;padding-left:.15em;padding-right:.15em}
.run:focus-visible{outline:2px solid currentColor;outline-offset:2px}
.run:has(.t:hover)::after{display:none}
.run .tag{font-weight:700;color:var(--ink)}.run .tag small{font-size:.68em}
.u{text-decoration-line:underline;text-decoration-color:var(--c);text-decoration-thickness:2px;
text-underline-offset:var(--o);text-decoration-skip-ink:none}
.u.p0{text-decoration-style:solid}.u.p1{text-decoration-style:dashed}.u.p2{text-decoration-style:dotted}
.u.p3{text-decoration-style:double}.u.p4{text-decoration-style:wavy;text-decoration-thickness:1.5px}
.u.p5{text-decoration-line:underline overline}
.said .t:hover{outline:1.5px solid var(--ink);border-radius:2px}
.num .t{font-variant-numeric:tabular-nums;font-size:.82rem;padding:0 .12rem}
.happened{font:600 .76rem/1 system-ui,sans-serif;border:1px solid var(--no);color:var(--no);border-radius:3px;
padding:.1rem .3rem;margin:0 .2rem;white-space:nowrap;text-decoration:none}
.hid{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.keys{list-style:none;padding:0;margin:.4rem 0;display:flex;flex-wrap:wrap;gap:.25rem 1.3rem;font-size:.9rem}
.keys .t{padding:.1em .45em;border-radius:3px}
@media print{.t,.tag{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


@dataclass(frozen=True, slots=True)
class Token:
    """A token at ``position``, chosen in ``step``: its text, and what acted in the pass that chose it.

    A token of the policy's ``fallback`` was chosen by nobody: the row was halted before.
    """

    position: int
    step: int
    piece: str
    active: tuple[Activation, ...]
    prompt: bool = False
    fallback: bool = False

    @property
    def kind(self) -> tuple[tuple[str, float, str], ...]:
        """What acted with which strength, for which rule."""
        return tuple((each.name, each.strength, each.began.rule) for each in self.active)

    @property
    def group(self) -> tuple[tuple[str, bool, str], ...]:
        """What acted in which direction, for which rule; a schedule changes the strength alone."""
        return tuple((each.name, each.strength < 0, each.began.rule) for each in self.active)


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
        for _, group in groupby(_numbered(tokens, starts), key=lambda each: (each[0], each[1].group)):
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
        if not active:
            return "".join(_token(token) for token in run)
        inside = "".join(_token(token, self._tint(token.active)) for token in run)
        for place, each in enumerate(active):
            look = self._looks[each.began.vector]
            inside = (
                f'<span class="u c{look} p{look}" style="--o:{0.28 + 0.22 * place:.2f}em">{inside}</span>'
            )
        tag = "".join(self._tag(each) for each in active)
        style = f'style="--tint:{self._tint(active)}"'
        return (
            f'<span class="run has" tabindex="0" data-t="{escape(_run_told(run))}">'
            f'<span class="hid">[{escape("; ".join(_spread(run)))}: </span>'
            f'<span class="tag" {style} aria-hidden="true"><small>{escape(tag)}</small></span>'
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
            share = _LEAST_TINT + (MOST_TINT - _LEAST_TINT) * min(abs(each.strength) / self._most, 1.0)
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
        found: dict[tuple[str, bool], list[tuple[Activation, bool]]] = {}
        for token in tokens:
            for each in token.active:
                found.setdefault((each.name, each.strength < 0), []).append((each, token.prompt))
        if not found:
            return '<p class="note">Nothing acted on a token of this row.</p>'
        return f'<ul class="keys">{"".join(self._key(mine) for mine in found.values())}</ul>'

    def _key(self, mine: Sequence[tuple[Activation, bool]]) -> str:
        strongest = max((each for each, _ in mine), key=lambda each: abs(each.strength))
        look = self._looks[strongest.began.vector]
        count = sum(not prompt for _, prompt in mine)
        tokens = f"{count} token" if count == 1 else f"{count} tokens"
        style = f'style="--o:.28em;--tint:{self._tint([strongest])}"'
        sample = f'<span class="t u c{look} p{look}" {style}>{escape(self._tag(strongest))}</span>'
        return f"<li>{sample} {escape(ends_text([each.began for each, _ in mine]))}, {tokens}</li>"


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


def _token(token: Token, tint: str = "") -> str:
    style = f' style="--tint:{tint}"' if tint else ""
    return f'<span class="t has" data-t="{escape(_token_told(token))}"{style}>{escape(token.piece)}</span>'


def _spread(run: Sequence[Token]) -> list[str]:
    """Return what acted over a run, each with the ends of its strengths."""
    return [ends_text([token.active[place].began for token in run]) for place in range(len(run[0].active))]


def _token_told(token: Token) -> str:
    active = (
        "\n".join(f"{strength_text(each.began)} for {each.began.rule}" for each in token.active)
        or "nothing acted"
    )
    if token.prompt:
        return f"prompt token at position {token.position}\n{active}"
    if token.fallback:
        return f"token at position {token.position}, of the policy's fallback\n{active}"
    where = f"in step {token.step} by the pass over position {token.position - 1}"
    return f"token at position {token.position}, chosen {where}\n{active}"


def _run_told(run: Sequence[Token]) -> str:
    first, last = run[0], run[-1]
    rules = [each.began.rule for each in first.active]
    active = "\n".join(f"{told} for {rule}" for told, rule in zip(_spread(run), rules, strict=True))
    one = first.position == last.position
    where = f"{'prompt ' if first.prompt else ''}token{'' if one else 's'} at position{'' if one else 's'}"
    steps = f"step{'' if first.step == last.step else 's'} {told_range(first.step, last.step)}"
    return f"{where} {told_range(first.position, last.position)}, {steps}\n{active}"


def told_range(first: int, last: int) -> str:
    """Return a range in words, or the one number that it is."""
    return str(first) if first == last else f"{first} to {last}"
