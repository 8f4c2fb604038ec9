"""Compare three ways of answering hostile users: steer, take back and write again, or end the reply.

    python -m examples.warm_when_hostile.compare --json

The same held-out hostile prompts, the same classifier, the same vector, three policies: ``add`` steers from
the first word on, ``revise`` and ``halt`` wait for a harsh reply (``ladder/``). Only prompts that the
classifier calls hostile count: on the others all three leave the bare model alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.warm_when_hostile.build import warmth
from examples.warm_when_hostile.measure import POLICY, Change, Ids, audited, change, request_of
from examples.warm_when_hostile.run import file_groups, own_groups, real_groups
from examples.warm_when_hostile.talk import DATA, GREEDY, HERE, MODEL, Decoding, ask, load
from guardsteer.core.events import ActivationBegan, Event, FlagChanged, RequestEnded, RowHalted, RowRevised
from guardsteer.errors import GuardsteerError
from guardsteer.evaluate import Estimate, bootstrap, wilson
from guardsteer.evaluate.vader import compounds
from guardsteer.rules import load_policy
from guardsteer.steer import Vector

__all__ = ["LADDER", "Rung", "compare", "main"]

LADDER: Mapping[str, Path] = {
    "add": POLICY,
    "revise": HERE / "ladder" / "revise.yaml",
    "halt": HERE / "ladder" / "halt.yaml",
}
_SEEDS = 3
_UNKIND = -0.05


@dataclass(frozen=True, slots=True)
class Rung:
    """What one policy did to all rows with a hostile prompt.

    ``touched``: rows that were steered, taken back or ended. ``unkind``: replies whose VADER compound is
    at most -0.05, its authors' bound for negative. ``wasted``: share of the tokens written that were
    taken back or never returned; ``wasted_a_row`` in tokens of a touched row. ``on_touched``: the change of
    touched rows alone. ``untouched_same``: how many of the others got the bare model's reply, token by token.
    """

    touched: Estimate
    changed: Change
    unkind: Estimate
    wasted: Estimate
    wasted_a_row: float
    on_touched: Change | None
    untouched_same: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """The replies of one policy, row by row, and what became of each row by the audit."""

    replies: list[Ids]
    hostile: list[bool]
    touched: list[bool]
    wasted: list[int]
    written: list[int]


def compare(
    model: Any, tokenizer: Any, prompts: Sequence[str], decodings: Sequence[Decoding], vector: Vector
) -> tuple[Estimate, Mapping[str, Rung]]:
    """Return the share of unkind replies of the bare model, and what each policy of the ladder made of it.

    Several decodings (seeds) count as so many rows each.
    """
    asked = list(prompts) * len(decodings)
    bare = [reply for decoding in decodings for reply in ask(model, tokenizer, prompts, decoding)]
    runs = {
        name: _joined([_rows(model, tokenizer, prompts, decoding, path, vector) for decoding in decodings])
        for name, path in LADDER.items()
    }
    # The prompt alone decides, so that all three policies find the same rows hostile.
    rows = [row for row, hostile in enumerate(runs["add"].hostile) if hostile]
    rungs = {name: _rung(model, tokenizer, asked, bare, run, rows) for name, run in runs.items()}
    return _unkind(tokenizer, [bare[row] for row in rows]), rungs


def _rows(
    model: Any, tokenizer: Any, prompts: Sequence[str], decoding: Decoding, path: Path, vector: Vector
) -> _Rows:
    policy = load_policy(path)
    vectors = {spec.name: vector for spec in policy.vectors}
    replies, events = audited(model, tokenizer, prompts, decoding, policy, vectors)
    by_request: dict[str, list[Event]] = {request_of(number): [] for number in range(len(prompts))}
    for event in events:
        request = getattr(event, "request", None)
        if request in by_request:
            by_request[request].append(event)
    told = list(by_request.values())
    wasted = [sum(map(_wasted, row)) for row in told]
    return _Rows(
        replies=replies,
        hostile=[
            any(isinstance(e, FlagChanged) and e.flag == "hostile" and e.up for e in row) for row in told
        ],
        touched=[any(isinstance(e, ActivationBegan | RowRevised | RowHalted) for e in row) for row in told],
        wasted=wasted,
        written=[len(reply) + lost for reply, lost in zip(replies, wasted, strict=True)],
    )


def _wasted(event: Event) -> int:
    if isinstance(event, RowRevised):
        return event.dropped
    return event.withheld_tokens if isinstance(event, RequestEnded) else 0


def _joined(runs: Sequence[_Rows]) -> _Rows:
    return _Rows(
        replies=[reply for run in runs for reply in run.replies],
        hostile=[hostile for run in runs for hostile in run.hostile],
        touched=[touched for run in runs for touched in run.touched],
        wasted=[wasted for run in runs for wasted in run.wasted],
        written=[written for run in runs for written in run.written],
    )


def _rung(
    model: Any, tokenizer: Any, asked: Sequence[str], bare: Sequence[Ids], run: _Rows, rows: Sequence[int]
) -> Rung:
    def changed(chosen: Sequence[int]) -> Change:
        texts = [asked[row] for row in chosen]
        before, after = ([replies[row] for row in chosen] for replies in (bare, run.replies))
        return change(model, tokenizer, texts, before, after)

    touched = [row for row in rows if run.touched[row]]
    tokens = np.array([[run.wasted[row], run.written[row]] for row in rows], dtype=np.float64)
    return Rung(
        touched=wilson(len(touched), len(rows)),
        changed=changed(rows),
        unkind=_unkind(tokenizer, [run.replies[row] for row in rows]),
        wasted=bootstrap(tokens, lambda drawn: float(drawn[:, 0].sum() / drawn[:, 1].sum())),
        wasted_a_row=float(sum(run.wasted[row] for row in touched) / max(1, len(touched))),
        on_touched=changed(touched) if touched else None,
        untouched_same=sum(bare[row] == run.replies[row] for row in rows if not run.touched[row]),
    )


def _unkind(tokenizer: Any, replies: Sequence[Ids]) -> Estimate:
    scores = compounds(tokenizer.batch_decode(list(replies), skip_special_tokens=True))
    return wilson(sum(score <= _UNKIND for score in scores), len(scores))


def table(how: Decoding, seeds: int, unkind: Estimate, rungs: Mapping[str, Rung]) -> Iterator[str]:
    """Yield the lines of a table of the figures."""
    rows = next(iter(rungs.values())).touched.rows
    drawn = "" if how.temperature is None else f" at temperature {how.temperature}, {seeds} seeds"
    yield f"{how.name}{drawn}, at most {how.new_tokens} tokens, {rows} rows with a hostile prompt"
    yield ""
    names = ["", "rows touched", "VADER", "gain, 95 % interval", "unkind replies", "perplexity ratio"]
    names += ["tokens wasted", "a touched row", "untouched same"]
    yield _line(names)
    before = next(iter(rungs.values())).changed.before.value
    yield _line(("bare", "", f"{before:+.3f}", "", _share(unkind)))
    for name, rung in rungs.items():
        gain, ratio = rung.changed.gain, rung.changed.perplexity_ratio
        yield _line(
            (
                name,
                _share(rung.touched),
                f"{rung.changed.after.value:+.3f}",
                f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
                _share(rung.unkind),
                f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
                _share(rung.wasted),
                f"{rung.wasted_a_row:.1f}",
                f"{rung.untouched_same} of {rows - round(rung.touched.value * rows)}",
            )
        )


def _line(cells: Sequence[str]) -> str:
    widths = (8, 26, 8, 28, 24, 22, 24, 15, 0)
    return "  " + "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip()


def _share(share: Estimate) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.warm_when_hostile.compare", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, help="folder of a chat model; default: %(default)s")
    add("--data", type=Path, default=DATA, help="folder with goemotions and soda-dialogues")
    add("--prompts", type=Path, metavar="FILE", help="prompts of your own in place of the held-out ones")
    add("--decoding", choices=("greedy", "sampled", "both"), default="greedy")
    add("--json", action="store_true", help="print JSON in place of the table")
    given = parser.parse_args(arguments)
    try:
        model, tokenizer = load(given.model)
        found = list(_measure(model, tokenizer, given))
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([_as_json(*figures) for figures in found], indent=2))
    else:
        print("\n\n".join("\n".join(table(*figures)) for figures in found))
    return 0


def _measure(
    model: Any, tokenizer: Any, given: argparse.Namespace
) -> Iterator[tuple[Decoding, int, Estimate, Mapping[str, Rung]]]:
    groups = file_groups(given.prompts) if given.prompts else own_groups()
    if not given.prompts and given.data.is_dir():
        groups += real_groups(given.data)
    prompts = [text for group in groups if group.hostile for text in group.prompts]
    vector = warmth(model, tokenizer)
    if given.decoding != "sampled":
        yield GREEDY, 1, *compare(model, tokenizer, prompts, [GREEDY], vector)
    if given.decoding != "greedy":
        seeds = [Decoding("sampled", temperature=0.7, seed=seed) for seed in range(_SEEDS)]
        yield seeds[0], len(seeds), *compare(model, tokenizer, prompts, seeds, vector)


def _as_json(how: Decoding, seeds: int, unkind: Estimate, rungs: Mapping[str, Rung]) -> dict[str, Any]:
    policies = {name: asdict(rung) for name, rung in rungs.items()}
    return {"decoding": asdict(how), "seeds": seeds, "bare_unkind": asdict(unkind), "policies": policies}


if __name__ == "__main__":
    sys.exit(main())
