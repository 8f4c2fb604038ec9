"""What was written in a row, every token shaded by what acted when it was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from itertools import groupby

from guardsteer.audit import Activation, StoredEvent, activations_of
from guardsteer.core.policy import Policy
from guardsteer.evaluate.timeline import RowRecord
from guardsteer.pages.page import table, unfold
from guardsteer.report.row_view import letters_of, strength_text, writer_of
from guardsteer.report.said import Passage, told_check
from guardsteer.report.shading import Shading, Token, told_range

__all__ = ["row_text"]

_MOST_PLACES = 1500
"""Without a text, so many tokens are shown as numbers; lanes and table show all."""

_NO_TEXT = "No text of the answer is at hand, and the log holds none: tokens are shown as their positions."
_NOTE = (
    "A token of the answer is shaded by what acted in the pass that chose it, which went over the position "
    "before it; a token of the prompt by what acted on its own position. The letter, the kind of line and "
    "the table say the same without colour."
)


def row_text(
    row: RowRecord,
    trail: Sequence[StoredEvent],
    policy: Policy | None,
    prompt: Passage | None,
    output: Passage | None,
) -> str:
    """Return the row's text with its legend and its table; numbers of positions where there is no text.

    ``trail`` are the records of its request.
    """
    acting = activations_of(trail, sequence=row.key.sequence)
    letters = letters_of(policy, row)
    drawn = Shading(letters, max((abs(each.strength) for each in acting), default=1.0) or 1.0)
    written = _output_tokens(row, acting, output)
    read = _prompt_tokens(acting, prompt)
    parts = [*_notices(row, prompt, output), drawn.keys([*read, *written])]
    if prompt is not None and prompt.text:
        parts.append(_passage("The prompt", "said prompt", prompt, drawn, read, row))
    if output is not None and output.text:
        parts.append(_passage("The answer", "said", output, drawn, written, row))
    else:
        parts.append(_places(row, drawn, written))
    parts.append(f'<p class="note">{_NOTE}</p>')
    parts.append(_runs_table([*read, *written], output is not None))
    return "".join(parts)


def _notices(row: RowRecord, prompt: Passage | None, output: Passage | None) -> Iterator[str]:
    if output is None or not output.text:
        yield f'<p class="note">{_NO_TEXT}</p>'
    told: dict[tuple[str, str], list[str]] = {}
    for name, passage in (("prompt", prompt), ("answer", output)):
        if passage is not None:
            note = f"; {passage.note}" if passage.note else ""
            kind = "verdict no" if passage.check == "differs" else "note"
            told.setdefault((kind, told_check(passage.check) + note), []).append(name)
    for (kind, sentence), names in told.items():
        yield f'<p class="{kind}">{" and ".join(names).capitalize()}: {escape(sentence)}.</p>'
    if row.ended is not None and row.ended.withheld_tokens:
        withheld = f"{row.ended.withheld_tokens} tokens were written but withheld; they are not shown."
        yield f'<p class="note">{withheld}</p>'


def _output_tokens(row: RowRecord, acting: Sequence[Activation], output: Passage | None) -> list[Token]:
    count = row.ended.generated_tokens if row.ended is not None else row.steps + 1
    pieces = output.pieces if output is not None and output.pieces is not None else None
    halts = [halt.position for halt in row.halts if halt.mode == "enforce"]
    tokens = []
    for place in range(count):
        step, over = writer_of(row, place), row.prompt_tokens - 1 + place
        piece = pieces[place] if pieces is not None and place < len(pieces) else ""
        active = tuple(each for each in acting if each.covers(over))
        position = row.prompt_tokens + place
        fallback = bool(halts) and position >= min(halts)
        tokens.append(Token(position, step, piece, active, fallback=fallback))
    return tokens


def _prompt_tokens(acting: Sequence[Activation], prompt: Passage | None) -> list[Token]:
    pieces = prompt.pieces if prompt is not None else None
    return [
        Token(place, 0, piece, tuple(each for each in acting if each.covers(place)), prompt=True)
        for place, piece in enumerate(pieces or ())
    ]


def _passage(
    title: str, kind: str, passage: Passage, drawn: Shading, tokens: Sequence[Token], row: RowRecord
) -> str:
    lead = f'<span class="lead">{title}</span>'
    if passage.pieces is None:
        return f'<div class="{kind}">{lead}{escape(passage.text)}</div>'
    marks = {} if tokens and tokens[0].prompt else _happened(row)
    return f'<div class="{kind}">{lead}{drawn.tokens(tokens, marks)}</div>'


def _places(row: RowRecord, drawn: Shading, tokens: Sequence[Token]) -> str:
    shown = [replace(t, piece=f"{t.position} ") for t in tokens[:_MOST_PLACES]]
    more = f'<p class="note">The first {_MOST_PLACES:,} of {len(tokens):,} tokens.</p>'
    lead = '<span class="lead">Positions of the tokens that were written</span>'
    body = f'<div class="said num">{lead}{drawn.tokens(shown, _happened(row))}</div>'
    return body + (more if len(tokens) > _MOST_PLACES else "")


def _happened(row: RowRecord) -> dict[int, list[tuple[str, str]]]:
    """Return what is to be told before the token at a position: a mark, and the whole in a sentence."""
    marks: dict[int, list[tuple[str, str]]] = {}
    for back in row.revisions:
        if back.mode == "enforce":
            told = f"step {back.step}: {back.rule} took back {back.dropped} tokens; writing went on here"
            marks.setdefault(back.position, []).append(
                (f"\N{ANTICLOCKWISE TOP SEMICIRCLE ARROW} {back.dropped} taken back", told)
            )
    for halt in row.halts:
        if halt.mode == "enforce":
            told = f"step {halt.step}: {halt.rule} halted the row; what follows is the policy's fallback"
            marks.setdefault(halt.position, []).append(("\N{BLACK SQUARE} halted", told))
    return marks


def _runs_table(tokens: Sequence[Token], with_text: bool) -> str:
    rows = []
    for _, group in groupby(tokens, key=lambda token: (token.prompt, token.kind)):
        run = list(group)
        if not run[0].active and run[0].prompt:
            continue
        first, last = run[0], run[-1]
        row = [
            ("prompt " if first.prompt else "") + told_range(first.position, last.position),
            told_range(first.step, last.step),
            str(len(run)),
            "; ".join(strength_text(each.began) for each in first.active) or "nothing",
            ", ".join(dict.fromkeys(each.began.rule for each in first.active)),
        ]
        if with_text:
            row.append(_excerpt("".join(token.piece for token in run)))
        rows.append(row)
    heads = ["positions", "steps", "tokens", "what acted", "for rule", *(["text"] if with_text else [])]
    body = table(heads, rows, caption="What acted when each token was chosen, in runs of equal tokens")
    return unfold("The same as a table", body)


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 160 else f"{flat[:90]} \N{HORIZONTAL ELLIPSIS} {flat[-60:]}"
