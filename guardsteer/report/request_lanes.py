"""A row's lanes over its positions: signals with thresholds, flags, rules, strengths, what else happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from guardsteer.audit.wording import score_text
from guardsteer.core.policy import Policy
from guardsteer.evaluate.timeline import RowRecord, Turn
from guardsteer.pages.lanes import Lane, Level, Mark, lanes
from guardsteer.pages.page import table
from guardsteer.report.axis import StepAxis, step_axis
from guardsteer.report.happenings import Happening, happenings
from guardsteer.report.row_view import (
    Acting,
    Point,
    actings,
    ends_text,
    letters_of,
    points_of,
    spans_of,
    strength_text,
)

__all__ = ["row_lanes"]


def row_lanes(row: RowRecord, policy: Policy | None) -> str:
    """Return all lanes of a row with their tables; ``policy`` None: thresholds are not known."""
    acting = actings(row)
    live = row.live or row
    prompt = live.prompt_tokens
    axis = step_axis(
        row.steps,
        prompt,
        in_prompt=any(each.prompt for each in acting),
        repeats=any(back.mode == "enforce" for back in live.revisions),
    )
    ticks = tuple(axis.ticks())
    groups = (
        ("Signals", _signal_note(policy), *_signals(row, policy, axis)),
        ("Flags", "", *_flags(row, policy, axis)),
        ("Rules", "", *_rules(row, policy, axis)),
        ("Strengths", _STRENGTH_NOTE, *_strengths(row, policy, acting, axis)),
        ("What else happened", "", *_happened(row, axis)),
    )
    parts = [
        lanes(title, shown, ticks, axis=axis.label, note=note, table=told)
        for title, note, shown, told in groups
    ]
    parts += [f'<p class="note">{_NOTHING[title]}</p>' for title, _, shown, _ in groups if not shown]
    return "".join(parts)


_FLOOR, _CEILING = 0.08, 0.9
"""Where a signal's lowest and highest score are drawn, as shares of the lane's height."""
_MOST_SPANS = 4
_NOTHING = {
    "Signals": "The log holds no score of this row.",
    "Flags": "The log tells of no flag.",
    "Rules": "The log tells of no rule that fired.",
    "Strengths": "Nothing acted on this row.",
    "What else happened": "No halt, no revision, no error and no late classifier is in the log of this row.",
}
_STRENGTH_NOTE = (
    "In units of the residual norm of the steered block, added upwards and subtracted downwards; all lanes "
    "have one scale. Dashed: what was asked for before a bound cut it, or what would have acted in shadow."
)


def _signal_note(policy: Policy | None) -> str:
    told = (
        "The log holds a score where it changed a flag, a comparison or a rule, not at every step: only "
        "these are drawn. Dashed: where a flag goes up. Dotted: where it comes down."
    )
    return (
        told if policy is not None else told + " The policy is not in the log, so thresholds are not known."
    )


def _signals(row: RowRecord, policy: Policy | None, axis: StepAxis) -> tuple[list[Lane], str]:
    shown, rows = [], []
    for signal, points in points_of(row, policy).items():
        flags = [flag for flag in policy.flags if flag.signal == signal] if policy is not None else []
        values = [point.score for point in points if point.score is not None]
        levels = [level for flag in flags for level in (flag.enter, flag.exit)]
        low, high = min([0.0, *values, *levels]), max([1.0, *values, *levels])

        def height(value: float, low: float = low, high: float = high) -> float:
            return _FLOOR + (_CEILING - _FLOOR) * (value - low) / (high - low)

        limits = [Level(height(flag.enter), f"{flag.enter:g}") for flag in flags]
        limits += [
            Level(height(flag.exit), f"{flag.exit:g}", second=True)
            for flag in flags
            if flag.exit != flag.enter and not flag.latch
        ]
        marks = []
        for (step, score), whys in _merged(points).items():
            told = f"{_step(step)}: {signal} {score_text(score)} ({'; '.join(whys)})"
            bottom = _FLOOR if score is None else height(score)
            middle = axis.middle(step)
            marks.append(Mark(middle, middle, told, "cross" if score is None else "dot", bottom))
            rows.append([signal, str(step), score_text(score), "; ".join(whys)])
        remark = ", ".join(f"{flag.name} at {flag.enter:g}" for flag in flags) or "no flag of its own"
        summary = (
            f"{signal}: {_count(len(marks), 'score')} in the log"
            if marks
            else f"{signal}: no score in the log"
        )
        shown.append(
            Lane(
                signal,
                tuple(marks),
                f"{summary}; {remark}",
                remark if marks else f"{remark}; no score in the log",
                tuple(limits),
                "tall",
            )
        )
    told = table(
        ["signal", "step", "score", "told because"], rows, caption="Scores in the log, by signal and step"
    )
    return shown, told if rows else ""


def _merged(points: Sequence[Point]) -> Mapping[tuple[int, float | None], list[str]]:
    merged: dict[tuple[int, float | None], list[str]] = defaultdict(list)
    for point in points:
        merged[point.step, point.score].append(point.why)
    return merged


def _flags(row: RowRecord, policy: Policy | None, axis: StepAxis) -> tuple[list[Lane], str]:
    names = [flag.name for flag in policy.flags] if policy is not None else []
    shown = _stated(row.flags, names, row, axis, ("up", "down throughout"))
    return shown[0], _stated_table(shown[1], ["flag", "steps", "state", "score"], "When each flag was up")


def _rules(row: RowRecord, policy: Policy | None, axis: StepAxis) -> tuple[list[Lane], str]:
    names = [rule.id for rule in policy.rules] if policy is not None else []
    shown = _stated(row.rules, names, row, axis, ("fires", "rested throughout"))
    return shown[0], _stated_table(shown[1], ["rule", "steps", "state", "scores"], "When each rule fired")


def _stated(
    turns: Mapping[str, Sequence[Turn]],
    names: Sequence[str],
    row: RowRecord,
    axis: StepAxis,
    words: tuple[str, str],
) -> tuple[list[Lane], list[list[str]]]:
    """Return a lane for each name with a bar where its state held, and the same as rows of a table."""
    shown, rows = [], []
    for place, name in enumerate(dict.fromkeys([*names, *turns])):
        marks = []
        for span in spans_of(turns.get(name, ()), row.steps):
            state = words[0] if span.state else "undecided"
            state = f"{state} (shadow)" if span.mode == "shadow" else state
            scores = ", ".join(f"{key} {score_text(value)}".strip() for key, value in span.scores.items())
            told = f"{name} {state}, {_steps(span.first, span.last)}"
            told += f"; at its beginning {scores}" if scores else ""
            ghost = span.state is None or span.mode == "shadow"
            marks.append(
                Mark(axis.step(span.first), axis.step(span.last + 1), told, "bar", look=place, ghost=ghost)
            )
            rows.append([name, _plain_steps(span.first, span.last), state, scores])
        summary = _summary([each[1] for each in rows if each[0] == name], row, words)
        shown.append(Lane(name, tuple(marks), f"{name}: {summary}", summary))
    return shown, rows


def _summary(spans: Sequence[str], row: RowRecord, words: tuple[str, str]) -> str:
    if not spans:
        return words[1]
    if list(spans) == [_plain_steps(0, row.steps)]:
        return f"{words[0]} throughout"
    more = f" and {len(spans) - _MOST_SPANS} times more" if len(spans) > _MOST_SPANS else ""
    step = "step" if len(spans) == 1 and spans[0].isdigit() else "steps"
    return f"{words[0]}, {step} {', '.join(spans[:_MOST_SPANS])}{more}"


def _stated_table(rows: Sequence[Sequence[str]], heads: Sequence[str], caption: str) -> str:
    return table(heads, rows, caption=f"{caption}, by step") if rows else ""


def _strengths(
    row: RowRecord, policy: Policy | None, acting: Sequence[Acting], axis: StepAxis
) -> tuple[list[Lane], str]:
    letters = letters_of(policy, row)
    most = (
        max(
            (abs(value) for each in acting for value in (each.began.applied, each.began.requested)),
            default=1.0,
        )
        or 1.0
    )
    shown, rows = [], []
    for look, (vector, letter) in enumerate(letters.items()):
        mine = [each for each in acting if each.began.vector == vector]
        values = [value for each in mine for value in (each.began.applied, each.began.requested)]
        # Both ways: half of a lane of twice the height, so that all lanes have one scale.
        up, down = not mine or max(values) > 0, bool(mine) and min(values) < 0
        zero, size = (0.5, 2.0) if up and down else (0.0, 1.0) if up else (1.0, 1.0)
        marks: list[Mark] = []
        for each in mine:
            marks += _strength_marks(each, axis, look, zero, 1.0 / size / most)
            rows.append(_strength_row(each))
        remark = ends_text([each.began for each in mine]) if mine else "left alone"
        levels = (Level(zero, "0", second=True),) if down else ()
        name, told = f"{letter} {vector}", f"{vector}: {remark}"
        shown.append(Lane(name, tuple(marks), told, remark, levels, "both" if up and down else "mid"))
    heads = ["vector", "rule", "positions", "steps", "strength", "asked for", "blocks", "mode"]
    return shown, table(heads, rows, caption="What acted, with exact strengths") if rows else ""


def _strength_marks(each: Acting, axis: StepAxis, look: int, zero: float, scale: float) -> Iterator[Mark]:
    left = axis.position(each.first) if each.prompt else axis.step(each.first_step)
    right = axis.step(each.last_step + 1)
    if each.prompt and each.last < axis.first:
        right = axis.position(each.last + 1)
    told = _strength_told(each)
    if each.began.requested != each.began.applied:
        low, high = sorted((zero, zero + each.began.requested * scale))
        yield Mark(left, right, told, "bar", low, high, look, ghost=True)
    low, high = sorted((zero, zero + each.began.applied * scale))
    yield Mark(left, right, told, "bar", low, high, look, ghost=each.began.mode == "shadow")


def _strength_told(each: Acting) -> str:
    cut = f", {each.began.requested:g} asked for, {_cut(each)}"
    return (
        f"{strength_text(each.began)} for {each.began.rule}: {_positions(each)}, "
        f"{_steps(each.first_step, each.last_step)}"
        f"{cut if each.began.requested != each.began.applied else ''}, {_blocks(each)}"
        f"{', its end is not in the log' if each.open else ''}"
        f"{', shadow: it would have' if each.began.mode == 'shadow' else ''}"
    )


def _strength_row(each: Acting) -> list[str]:
    asked = "" if each.began.requested == each.began.applied else f"{each.began.requested:g} ({_cut(each)})"
    positions = str(each.first) if each.first == each.last else f"{each.first} to {each.last}"
    return [
        f"{each.began.operator} {each.began.vector}",
        each.began.rule,
        positions + (" (end not in the log)" if each.open else ""),
        _plain_steps(each.first_step, each.last_step),
        f"{each.began.applied:+g}",
        asked,
        " ".join(map(str, each.began.blocks)),
        each.began.mode,
    ]


def _happened(row: RowRecord, axis: StepAxis) -> tuple[list[Lane], str]:
    found = list(happenings(row))
    shown = []
    for kind in dict.fromkeys(each.kind for each in found):
        mine = [each for each in found if each.kind == kind]
        told = "; ".join(each.told for each in mine)
        remark = "at step " + ", ".join(_plain_steps(each.first, each.last) for each in mine)
        shown.append(Lane(kind, tuple(_happening(each, axis) for each in mine), f"{kind}: {told}", remark))
    rows = [[each.kind, _plain_steps(each.first, each.last), each.told] for each in found]
    heads = ["kind", "steps", "what happened"]
    return shown, table(heads, rows, caption="What else happened, by step") if rows else ""


def _happening(each: Happening, axis: StepAxis) -> Mark:
    if each.form == "soft":
        return Mark(axis.step(each.first), axis.step(each.last + 1), each.told, "soft", look=1)
    middle = axis.middle(each.first)
    return Mark(middle, middle, each.told, each.form, 0.5, ghost=each.shadow)


def _cut(each: Acting) -> str:
    limits = each.began.limits
    return f"cut by {' and '.join(limits)}" if limits else "less by its schedule"


def _positions(each: Acting) -> str:
    return f"position {each.first}" if each.first == each.last else f"positions {each.first} to {each.last}"


def _blocks(each: Acting) -> str:
    return ("block " if len(each.began.blocks) == 1 else "blocks ") + " ".join(map(str, each.began.blocks))


def _step(step: int) -> str:
    return f"step {step}"


def _steps(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _plain_steps(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
