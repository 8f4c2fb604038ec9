"""How figures of a period were spread, over time: scores when flags went up, durations of requests."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from guardsteer.core.policy import FlagSpec
from guardsteer.pages.lanes import Lane, Level, Mark, lanes
from guardsteer.pages.page import table
from guardsteer.report.axis import TimeAxis
from guardsteer.report.period_data import Period, policy_of

__all__ = ["drift", "latencies", "quantile", "scores"]

_LOW, _QUARTER, _HALF, _THREE, _HIGH = 0.05, 0.25, 0.5, 0.75, 0.95
_FLOOR, _CEILING, _LINE = 0.06, 0.92, 0.03


def scores(found: Period) -> str:
    """Return how the scores with which flags went up were spread, over time, with how they drifted."""
    specs = _flags(found)
    shown, rows = [], []
    for flag in sorted(found.scores):
        buckets, spec = found.scores[flag], specs.get(flag)
        whole = sorted(score for values in buckets.values() for score in values)
        low, high = min(0.0, whole[0]), max(1.0, whole[-1])
        marks = tuple(_spread(found.axis, buckets, (low, high), flag, ".3f"))
        limits = (Level(_height(spec.enter, (low, high)), f"{spec.enter:g}"),) if spec is not None else ()
        first, second, apart = drift(buckets, found.axis.count)
        told = f"median {quantile(whole, _HALF):.3f} of {len(whole):,}"
        if first and second:
            halves = [f"{quantile(half, _HALF):.3f}" for half in (first, second)]
            told += f"; {halves[0]} in the first half, {halves[1]} in the second"
        signal = spec.signal if spec is not None else "unknown"
        shown.append(
            Lane(flag, marks, f"{flag} ({signal}): {told}", f"{signal}, {len(whole):,} times", limits, "tall")
        )
        halves = [
            f"{quantile(half, _HALF):.3f} ({len(half):,})" if half else "none" for half in (first, second)
        ]
        rows.append(
            [
                flag,
                signal,
                f"{spec.enter:g}" if spec is not None else "",
                f"{len(whole):,}",
                *halves,
                f"{apart:.3f}" if apart is not None else "",
            ]
        )
    heads = [
        "flag",
        "signal",
        "goes up at",
        "times",
        "median, first half (times)",
        "median, second half (times)",
        "largest distance",
    ]
    told = table(
        heads, rows, caption="Scores when a flag went up, and how the second half of the period differs"
    )
    note = (
        "Thick: the median. Box: half of the scores. Line: from the 5th to the 95th of a hundred. The "
        "log holds scores where a flag changed, so this is drift of what fired, not of all traffic. "
        "Largest distance: "
        "between the two halves' cumulative distributions (Kolmogorov-Smirnov), 0 for the same, 1 for wholly "
        "apart."
    )
    return lanes(
        "Scores when flags went up", shown, tuple(found.axis.ticks()), axis="UTC", note=note, table=told
    )


def _flags(found: Period) -> dict[str, FlagSpec]:
    """Return each flag as the policy adopted last defines it."""
    specs: dict[str, FlagSpec] = {}
    for adopted in found.policies:
        policy = policy_of(adopted.text, adopted.policy) if not adopted.track else None
        specs.update({flag.name: flag for flag in policy.flags} if policy is not None else {})
    return specs


def _spread(
    axis: TimeAxis, buckets: Mapping[int, array[float]], ends: tuple[float, float], name: str, form: str
) -> Iterator[Mark]:
    for bucket in sorted(buckets):
        values = sorted(buckets[bucket])
        at = [quantile(values, share) for share in (_LOW, _QUARTER, _HALF, _THREE, _HIGH)]
        low, quarter, half, three, high = (_height(value, ends) for value in at)
        left, right = axis.edges(bucket)
        middle, gap = (left + right) / 2, 0.2 * (right - left)
        told = (
            f"{name}, {axis.name(bucket)}: median {at[2]:{form}}, half from {at[1]:{form}} "
            f"to {at[3]:{form}}, 9 of 10 from {at[0]:{form}} to {at[4]:{form}}, {len(values):,} times"
        )
        yield Mark(middle, middle, told, "stem", low, high)
        yield Mark(left + gap, right - gap, told, "box", quarter, max(three, quarter + 0.02))
        yield Mark(left + gap, right - gap, told, "bar", max(half - _LINE, 0.0), half + _LINE)


def _height(value: float, ends: tuple[float, float]) -> float:
    return _FLOOR + (_CEILING - _FLOOR) * (value - ends[0]) / ((ends[1] - ends[0]) or 1.0)


def drift(buckets: Mapping[int, array[float]], count: int) -> tuple[list[float], list[float], float | None]:
    """Return the scores of the first and the second half of ``count`` buckets, and how far they lie apart.

    That is the largest distance of their cumulative distributions (Kolmogorov-Smirnov); None where a half
    is empty.
    """
    first = sorted(value for bucket, values in buckets.items() if bucket < count / 2 for value in values)
    second = sorted(value for bucket, values in buckets.items() if bucket >= count / 2 for value in values)
    if not first or not second:
        return first, second, None
    apart = max(
        abs(bisect_right(first, value) / len(first) - bisect_right(second, value) / len(second))
        for value in {*first, *second}
    )
    return first, second, apart


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of sorted ``values`` lie, between neighbours in proportion."""
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def latencies(found: Period) -> str:
    """Return how long requests took, over time."""
    whole = sorted(value for values in found.latency_ms.values() for value in values)
    if not whole:
        return '<p class="note">No request ended in this period whose beginning is in the log.</p>'
    top = max(quantile(sorted(values), _HIGH) for values in found.latency_ms.values())
    marks = tuple(_spread(found.axis, found.latency_ms, (0.0, top), "duration in ms", ",.0f"))
    at = [f"{quantile(whole, share):,.0f} ms" for share in (_HALF, _HIGH, 0.99)]
    remark = f"median {at[0]}, 95 % within {at[1]}"
    lane = Lane(
        "duration", marks, f"duration: {remark}", remark, (Level(_CEILING, f"{top:,.0f} ms"),), "tall"
    )
    rows = []
    for bucket in sorted(found.latency_ms):
        values = sorted(found.latency_ms[bucket])
        rows.append(
            [
                found.axis.name(bucket),
                f"{len(values):,}",
                *(f"{quantile(values, share):,.0f}" for share in (_HALF, _HIGH)),
            ]
        )
    heads = [f"{found.axis.width} from, UTC", "requests", "median, ms", "95th of 100, ms"]
    told = table(
        heads, rows, caption=f"Durations of requests; all: median {at[0]}, 95 % {at[1]}, 99 % {at[2]}"
    )
    return lanes(
        "Durations of requests",
        [lane],
        tuple(found.axis.ticks()),
        axis="UTC",
        note=_latency_note(found, len(whole)),
        table=told,
    )


def _latency_note(found: Period, count: int) -> str:
    by = (
        "the monotonic clock"
        if found.monotonic == count
        else "UTC"
        if not found.monotonic
        else "the monotonic clock where the log has it, else UTC"
    )
    told = f"From admission to the last record of a row, by {by}; rows of one batch end together. "
    return told + "The log does not hold how long each stage took."
