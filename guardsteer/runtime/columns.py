"""Rows in a pass that is not plain: one that brings them more than one column, as drafts and prompts do."""

from __future__ import annotations

from collections.abc import Sequence

from guardsteer.errors import UnsupportedError
from guardsteer.runtime.probing import ProbeBank
from guardsteer.runtime.row import Row
from guardsteer.runtime.steps import unsettled

__all__ = ["catch_up", "complete_all", "match"]


def catch_up(
    rows: Sequence[Row], tokens: Sequence[list[int]], past: int, end: int, width: int, *, cached: bool
) -> None:
    """Bring rows to column ``past`` and then, token by token, to ``end``; drafts keep states.

    ``tokens`` holds the pass's columns row by row, ``width`` counts the prompt's. Raises ``UnsupportedError``
    where a state is needed that was not kept.
    """
    start = max(past, width) if cached else end - 1
    index = start - width
    # All tokens behind the first of a pass are drafts, and so is the first where the prompt leads.
    drafting = cached and (end - start > 1 or past < width)
    for row, ids in zip(rows, tokens, strict=True):
        if row.index != index and not row.rewind(index):
            raise UnsupportedError(
                f"the sequence was rewound from token {row.index} to token {index}, whose state "
                "was not kept; this way of decoding cannot be guarded"
            )
        row.forget()
        for column in range(start, end):
            if drafting:
                row.save()
            row.advance(ids[column - past])
        if drafting:
            row.save()


def match(rows: Sequence[Row], generated: Sequence[list[int]]) -> tuple[list[Row], list[int]]:
    """Find for each place the row whose tokens it continues, without a cache: beams change places.

    Returns the rows, and the place from which each came. Raises ``UnsupportedError`` where there is none.
    """
    by_key = {(row.group, row.step.key): row for row in rows}
    taken: set[int] = set()
    matched: list[Row] = []
    places = {id(row): place for place, row in enumerate(rows)}
    sources: list[int] = []
    for place, (row, tokens) in enumerate(zip(rows, generated, strict=True)):
        key = row.prompt_key
        for token in tokens[:-1]:
            key = hash((key, token))
        found = row if row.step.key == key else by_key.get((row.group, key))
        if found is None:
            raise UnsupportedError(
                f"row {place} does not continue any sequence of this generation; "
                "this way of decoding cannot be guarded without a cache"
            )
        matched.append(found.fork() if id(found) in taken else found)
        taken.add(id(found))
        sources.append(places[id(found)])
    return matched, sources


def complete_all(
    rows: Sequence[Row],
    probes: ProbeBank,
    products: Sequence[Sequence[Sequence[float]]],
    *,
    first: int,
    fresh: int,
) -> None:
    """Finish the steps from ``fresh`` on with ``products: [row][column][slot]``, from step ``first`` on.

    Drafted steps are decided again from the first one, each with its own probe before the next.
    """
    for row, columns in zip(rows, products, strict=True):
        if len(columns) == 1:
            if not row.step.complete:
                row.complete(row.step, probes, columns[0])
            continue
        steps = unsettled(row.step, fresh)
        drafted = row.drafting
        if steps and drafted:
            row.rewind(steps[0].index)
        for place, step in enumerate(steps):
            if drafted and place:
                row.advance(step.token)
            if not row.step.complete:
                row.complete(row.step, probes, columns[row.step.index - first])
            if drafted:
                row.save()
