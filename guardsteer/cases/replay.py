"""One case, run through the rules step by step as a generation would be, without a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from guardsteer.cases.model import Case, Script
from guardsteer.classify.combined.signal_blend import SignalBlend
from guardsteer.classify.placing import placed
from guardsteer.core.plan import Plan
from guardsteer.core.policy import ClassifierSpec, Policy, ReviseSpec
from guardsteer.core.sentences import SentenceCounter
from guardsteer.core.signals import TextClassifier, TextState
from guardsteer.rules.program import Program, RowRules

__all__ = ["Classifiers", "HiddenReader", "Seen", "replay"]


class HiddenReader(Protocol):
    """What a case knows of a probe: its outputs and the block it reads; its scores are scripted."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the scores, in order."""

    @property
    def block(self) -> int:
        """The block whose output it reads."""


Classifiers: TypeAlias = Mapping[str, TextClassifier | HiddenReader | SignalBlend]


@dataclass(frozen=True, slots=True)
class Seen:
    """What held at a step: the scores (NaN: missing), flags and rules by name, and the plan."""

    step: int
    text: str
    signals: Mapping[str, float]
    flags: Mapping[str, bool]
    rules: Mapping[str, bool]
    plan: Plan


@dataclass(slots=True)
class _Reader:
    """A text classifier at work: its slice of the signals and what it has read."""

    spec: ClassifierSpec
    first: int
    end: int
    state: TextState


@dataclass(slots=True)
class _Row:
    """All that a revision takes back: rules, readers, scores, sentences, flags and rules by name."""

    rules: RowRules
    readers: list[_Reader]
    signals: list[float]
    sentences: SentenceCounter
    flags: dict[str, bool]
    fires: dict[str, bool]
    blends: list[tuple[int, SignalBlend]]

    def fork(self) -> _Row:
        return _Row(
            self.rules.fork(),
            [_Reader(reader.spec, reader.first, reader.end, reader.state.fork()) for reader in self.readers],
            list(self.signals),
            self.sentences.fork(),
            dict(self.flags),
            dict(self.fires),
            self.blends,
        )


@dataclass(frozen=True, slots=True)
class _Token:
    """A token that stayed so far (the first is the prompt), and the row once it was decided.

    ``ended``: how many sentences had ended with it; ``begun``: it began another.
    """

    row: _Row
    piece: str
    ended: int
    begun: bool


def replay(policy: Policy, program: Program, case: Case, classifiers: Classifiers) -> Iterator[Seen]:
    """Yield what holds at each step of ``case``, up to the one that halts.

    Raises ``RequestError`` where the case's request cannot be admitted, and whatever a classifier raises.
    """
    row = _begin(policy, program, case, classifiers)
    origin = row.fork()
    names = list(program.signal_index)
    specs = {spec.name: spec for spec in policy.classifiers}
    scripted = [program.signal_index[name] for script in case.scripts for name in script.signals]
    told: int | None = None
    past: list[_Token] = []
    pieces, left = iter(case.generation), len(case.generation)
    step, again = 0, False
    while step < case.steps or left:
        if not again:
            piece = next(pieces, "") if step else ""
            left -= bool(left and step)
        _read(row, piece)
        if step < len(case.scripts):
            _script(row, case.scripts[step], program, specs)
            told = case.scripts[step].sentences if case.scripts[step].sentences is not None else told
        for slot, blend in row.blends:
            row.signals[slot] = blend.score(row.signals, program.signal_index)
        ended = row.sentences.ended if told is None else told
        plan = _decide(row, ended)
        yield _seen(row, step, piece if step else case.user or case.prompt, names, plan)
        if plan.halt >= 0:
            return
        if program.revises:
            past.append(_Token(row.fork(), piece, ended, told is None and row.sentences.begun))
        # The last token that stays is read and decided anew before another is written.
        again = plan.revise >= 0
        if again:
            before = row.signals
            row, piece = _taken_back(program, past, origin, row, plan.revise)
            # What a case scripts stands until it scripts something else.
            for slot in scripted:
                row.signals[slot] = before[slot]
        step += 1


def _seen(row: _Row, step: int, text: str, names: Sequence[str], plan: Plan) -> Seen:
    signals = dict(zip(names, row.signals, strict=True))
    return Seen(step, text, signals, dict(row.flags), dict(row.fires), plan)


def _begin(policy: Policy, program: Program, case: Case, classifiers: Classifiers) -> _Row:
    scripted = {name.partition(".")[0] for script in case.scripts for name in script.signals}
    row = _Row(
        program.start(case.context, case.overrides, "shadow" if case.shadow else "enforce"),
        [],
        [0.0] * program.n_signals,
        SentenceCounter(),
        dict.fromkeys((flag.name for flag in policy.flags), False),
        dict.fromkeys(program.rule_ids, False),
        [],
    )
    for spec in policy.classifiers:
        found = classifiers[spec.name]
        if isinstance(found, SignalBlend) and spec.name not in scripted:
            row.blends.append((program.signal_index[f"{spec.name}.{found.outputs[0]}"], found))
        if spec.name in scripted or isinstance(found, SignalBlend) or not hasattr(found, "start"):
            continue
        first = program.signal_index[f"{spec.name}.{found.outputs[0]}"]
        reader = _Reader(spec, first, first + len(found.outputs), placed(spec, found).start())
        text = {"user": case.user, "generation": ""}.get(spec.on, case.prompt)
        if text:
            _push(row, reader, text)
        row.readers.append(reader)
    return row


def _push(row: _Row, reader: _Reader, text: str) -> None:
    reader.state.push(text)
    row.signals[reader.first : reader.end] = reader.state.scores()


def _read(row: _Row, piece: str) -> None:
    if not piece:
        return
    row.sentences.push(piece)
    for reader in row.readers:
        if reader.spec.on in ("generation", "all"):
            _push(row, reader, piece)


def _script(row: _Row, script: Script, program: Program, specs: Mapping[str, ClassifierSpec]) -> None:
    for name, score in script.signals.items():
        slot = program.signal_index[name]
        if math.isnan(score):
            on_error = specs[name.partition(".")[0]].on_error
            # As at run time: what a classifier that failed leaves behind.
            score = {"closed": math.nan, "open": 0.0, "last_state": row.signals[slot]}[on_error]
        row.signals[slot] = score


def _decide(row: _Row, sentences: int) -> Plan:
    rules = row.rules
    plan = rules.before(row.signals, sentences)
    _note(row)
    if rules.program.has_within:
        plan = rules.within(row.signals)
        _note(row)
    return plan


def _note(row: _Row) -> None:
    for change in row.rules.changes:
        if change.kind == "flag":
            row.flags[change.name] = change.up
        elif change.kind == "rule":
            row.fires[change.name] = change.up


def _taken_back(program: Program, past: list[_Token], origin: _Row, row: _Row, rule: int) -> tuple[_Row, str]:
    """Return the row before it read the last token that stays, and that token; the others leave ``past``."""
    stays = _stays(past, program.revises[rule])
    restored = (past[stays - 1].row if stays else origin).fork()
    restored.rules.take_revisions(row.rules)
    restored.rules.revised(rule)
    piece = past[stays].piece
    del past[stays:]
    return restored, piece


def _stays(past: Sequence[_Token], spec: ReviseSpec) -> int:
    """Return how many tokens stay: the newest always goes, and with it a sentence that it ended."""
    written = len(past) - 1
    if spec.tokens is not None:
        return max(0, written - spec.tokens)
    for token in range(written - 1, 0, -1):
        if past[token].ended > past[token - 1].ended:
            # A token that ends a sentence and begins the next goes with the next.
            return token - 1 if past[token].begun else token
    return 0
