"""What a stack is worth: on test rows, and on sources and slices that no part of it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.combining.bench import Bench, Rows, Weighed, weighed_without
from guardsteer.lab.classifiers.combining.members import Says
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.evaluate import (
    Evaluation,
    Scored,
    Seen,
    Threshold,
    accuracies,
    judge_threshold,
    misses_of,
    sheets_of,
)
from guardsteer.lab.classifiers.prefixes import cut
from guardsteer.lab.classifiers.rows import Gathered

__all__ = ["judge"]

Told = Callable[[str], None]

_MOST_LEFT_OUT = 8_000
_PREFIX_WORDS = (8, 16, 32)


def judge(
    bench: Bench, weighed: Weighed, says: Says, gathered: Gathered, penalty: float, told: Told
) -> Evaluation:
    """Return the evaluation of a written stack; for what is left out, others are trained without it.

    ``penalty``: that of the table over the encoder, theirs too.
    """
    recipe, classes, outputs = bench.recipe, bench.classes, bench.outputs
    test = [bench.examples[row] for row in bench.part("test")]

    def seen(rows: Sequence[Example], source: str, how: Seen = "test rows") -> Scored:
        scores = says([row.text for row in rows])
        return Scored(source, how, rows, scores, weighed.threshold, weighed.slope, weighed.offset)

    everything = seen([_plain(row) for row in test], "all sources")
    held = [everything]
    held += [seen([row for row in test if row.source == name], name) for name in _sources(test)]
    for name in _sources(gathered.testing):
        held.append(seen([row for row in gathered.testing if row.source == name], name, "source for testing"))
    for words in _PREFIX_WORDS:
        begun = [_plain(row, cut(row.text, words)) for row in test]
        held.append(seen(begun, f"all sources, first {words} words"))
    missed_in = [everything]
    for name in recipe.left_out:
        chosen = np.array([row.source == name for row in bench.examples])
        scored = _left_out(bench, name, chosen, penalty)
        told(f"left out {name}: {int(chosen.sum())} rows")
        held.append(scored)
        missed_in.append(scored)
    if recipe.left_out_slices:
        scored = _slices_left_out(bench, penalty, told)
        held.append(scored)
        missed_in.append(scored)
    sheets = [sheet for scored in held for sheet in sheets_of(scored, classes, outputs, seed=bench.base.seed)]
    thresholds: tuple[Threshold, ...] = ()
    if len(outputs) == 1:
        positives = [bench.examples[row].text for row in bench.part("tune") if bench.numbers[row] == 1]
        reached = float((says(positives)[:, 0] >= weighed.threshold).mean())
        target = bench.base.target_false_positive_rate
        thresholds = (judge_threshold(outputs[0], weighed.threshold, target, sheets, tuned_tpr=reached),)
    return Evaluation(
        sheets=tuple(sheets),
        thresholds=thresholds,
        misses=tuple(miss for scored in missed_in for miss in misses_of(scored, classes, outputs)),
        accuracies={
            f"{each.source} ({each.seen})": accuracies(each, classes, bench.base.apart)
            for each in held
            if len(outputs) > 1
        },
        failures=recipe.failures,
    )


def _left_out(bench: Bench, name: str, chosen: NDArray[np.bool_], penalty: float) -> Scored:
    """Return the rows left out, scored by a stack that never saw them.

    Where they have one class alone, test rows of the other class stand in for the rest.
    """
    places = np.flatnonzero(chosen)
    if not len(places):
        known = ", ".join(_sources(bench.examples))
        raise ClassifierError(
            f"left_out names {name!r}, of which there is no row to train on; there are {known}"
        )
    if len(places) > _MOST_LEFT_OUT:
        drawn = np.random.default_rng(bench.base.seed).choice(len(places), _MOST_LEFT_OUT, replace=False)
        places = places[np.sort(drawn)]
    weighed, says = weighed_without(bench, chosen, penalty)
    others: list[int] = []
    if len(bench.classes) == 2 and len(set(bench.numbers[places].tolist())) == 1:
        test = bench.part("test", chosen)
        others = test[bench.numbers[test] != bench.numbers[places[0]]].tolist()
    rows: Rows = np.array([*places.tolist(), *others], dtype=np.int64)
    return Scored(
        name,
        "source left out",
        [bench.examples[row] for row in rows],
        says(bench.texts(rows)),
        weighed.threshold,
        weighed.slope,
        weighed.offset,
        frozenset(range(len(places), len(rows))),
    )


def _slices_left_out(bench: Bench, penalty: float, told: Told) -> Scored:
    """Return the rows of groups of slices, each scored by a stack that saw none of its group.

    Each has its own threshold, so scores are moved, as log-odds, to have the mean one.
    """
    found: list[tuple[Sequence[Example], NDArray[np.float64], float]] = []
    for names in bench.recipe.left_out_slices:
        chosen = np.array([row.slice in names for row in bench.examples])
        scored = _left_out(bench, ", ".join(names), chosen, penalty)
        own = len(scored.rows) - len(scored.others)
        found.append((scored.rows[:own], scored.scores[:own], scored.threshold))
        told(f"left out {', '.join(names)}: {own} rows")
    levels = [float(np.log(threshold / (1 - threshold))) for _, _, threshold in found]
    mean = float(np.mean(levels))
    moved = [
        1 / (1 + np.exp(-(np.log(scores / (1 - scores)) - level + mean)))
        for (_, scores, _), level in zip(found, levels, strict=True)
    ]
    rows = [row for part, _, _ in found for row in part]
    source = f"{rows[0].source}, each type left out in turn"
    return Scored(source, "source left out", rows, np.vstack(moved), 1 / (1 + float(np.exp(-mean))))


def _plain(row: Example, text: str | None = None) -> Example:
    """Return a row without its slice, which is told once, by source."""
    return Example(row.text if text is None else text, row.label, row.source, "", row.group)


def _sources(rows: Sequence[Example]) -> list[str]:
    return list(dict.fromkeys(row.source for row in rows))
