"""The condition language against CEL's own implementation (C++, through cel-expr-python).

``python -m benchmarks.cel_differential [--examples 100000] [--seed 0] [--json]``. Random conditions are
evaluated in random situations, scores and request keys missing among them, by the compiled engine and by
CEL. Each kind of disagreement that docs/policy-language.md argues is counted; any other fails.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from benchmarks._conditions import (
    CONTEXT,
    FLAGS,
    SIGNALS,
    TYPES,
    Tree,
    context,
    mixes_numbers,
    quoted,
    rounded,
    scores,
    text_of,
    tree,
)
from guardsteer.rules import compile_policy, parse_policy

__all__ = ["NAN", "ROUNDED", "UNCHECKED", "Oracle", "compare", "engine_truths"]

BATCH = 25
STEPS = 3
ENTER = 0.5
UNCHECKED = "conditions that CEL's type checker refuses: whole with other numbers"
ROUNDED = "evaluations in which CEL rounds a whole number beyond 2**53"
NAN = "evaluations that CEL decides on a NaN, undecided here"


def engine_truths(
    texts: Sequence[str], rows: Sequence[Sequence[float]], request: Mapping[str, Any]
) -> list[list[bool | None]]:
    """Return at each step the truth of each condition, None where it is undecided.

    The engine shows it by what rules do: one that adds acts where its condition is true, one that
    disables where it is not false.
    """
    lines = ["guardsteer: 1", "name: compared", f"context: {CONTEXT}"]
    lines += ["classifiers: {s: {use: s, on: all}}", "flags:"]
    lines += [f"  {flag}: {{signal: {signal}, enter: {ENTER}}}" for flag, signal in FLAGS.items()]
    lines.append("vectors:")
    lines += [f"  {letter}{i}: {{use: v}}" for i in range(len(texts)) for letter in "am"]
    lines.append("rules:")
    for i, text in enumerate(texts):
        lines.append(f"- {{id: a{i}, when: {quoted(text)}, add: {{vector: a{i}, strength: 1}}}}")
        lines.append(f"- {{id: m{i}, when: 'true', add: {{vector: m{i}, strength: 1}}}}")
        lines.append(f"- {{id: d{i}, when: {quoted(text)}, disable: m{i}}}")
    policy = parse_policy("\n".join(lines), "compared.yaml")
    program = compile_policy(policy, {"s": tuple(name.partition(".")[2] for name in SIGNALS)})
    row = program.start(request)
    found: list[list[bool | None]] = []
    for signals in rows:
        strengths = row.before(signals).strengths
        pairs = [(strengths[2 * i] == 1.0, strengths[2 * i + 1] == 0.0) for i in range(len(texts))]
        found.append([True if must else None if may else False for must, may in pairs])
    return found


class Oracle:
    """CEL, with the names of the conditions declared. Raises ``ImportError`` where it is not installed."""

    def __init__(self) -> None:
        cel: Any = import_module("cel_expr_python.cel")
        types = {
            "bool": cel.Type.BOOL,
            "int": cel.Type.INT,
            "double": cel.Type.DOUBLE,
            "string": cel.Type.STRING,
            "list": cel.Type.List(cel.Type.STRING),
        }
        self._bool = cel.Type.BOOL
        self._failed = (cel.Type.ERROR, cel.Type.UNKNOWN)
        self._env = cel.NewEnv(variables={name: types[kind] for name, kind in TYPES.items()})

    def checked(self, text: str) -> Any:
        """Return a compiled condition, None where CEL's type checker refuses it."""
        try:
            return self._env.compile(text)
        except Exception as error:  # its own class is not public
            if "no matching overload" not in str(error):
                raise
            return None

    def unchecked(self, text: str) -> Any:
        """Return a condition compiled without the type checker, which alone knows names with dots."""
        return self._env.compile(text, disable_check=True)

    def truth(self, compiled: Any, values: Mapping[str, Any]) -> bool | None:
        """Return what a condition evaluates to; None for an error, which is what a missing name gives."""
        result = compiled.eval(data=values)
        if result.type() in self._failed:
            return None
        if result.type() != self._bool:
            raise TypeError(f"CEL gave a {result.type()}")
        return bool(result.value())


def compare(oracle: Oracle, draw: random.Random, counts: Counter[str], examples: int) -> list[str]:
    """Compare ``examples`` conditions in one request; count into ``counts``, return what cannot be argued."""
    pairs = [(tree(draw), draw.random()) for _ in range(examples)]
    texts = [text_of(each, random.Random(seed)) for each, seed in pairs]
    rows, request = [scores(draw) for _ in range(STEPS)], context(draw)
    ours = engine_truths(texts, rows, request)
    wrong: list[str] = []
    for index, (each, seed) in enumerate(pairs):
        counts["conditions"] += 1
        compiled, dots = oracle.checked(texts[index]), "."
        if compiled is None:
            counts[UNCHECKED] += 1
            if not mixes_numbers(each):
                wrong.append(f"the type checker refuses {texts[index]!r}")
                continue
            dots = "_"
            compiled = oracle.unchecked(text_of(each, random.Random(seed), dots=dots))
        theirs = [
            tuple(
                oracle.truth(compiled, _values(signals, request, step, dots, nan=nan))
                for nan in (False, True)
            )
            for step, signals in enumerate(rows)
        ]
        mine = [row[index] for row in ours]
        if mixes_numbers(each) and mine != [left_out for left_out, _ in theirs]:
            counts[ROUNDED] += sum(a is not b for a, (b, _) in zip(mine, theirs, strict=True))
            mine = _rounded_truths(each, rows, request)
        where = f"{texts[index]!r} in {request} and {rows}"
        wrong += [f"{told}: {where}" for told in _judge(mine, theirs, counts)]
    return wrong


def _values(
    signals: Sequence[float], request: Mapping[str, Any], step: int, dots: str, *, nan: bool
) -> dict[str, Any]:
    """Return what each name is worth to CEL; a NaN is left out unless ``nan``."""
    known = dict(zip(SIGNALS, signals, strict=True))
    values: dict[str, Any] = {"step": step}
    values |= {f"request.{key}": value for key, value in request.items()}
    values |= {name: score for name, score in known.items() if nan or score == score}
    values |= {flag: known[name] >= ENTER for flag, name in FLAGS.items() if known[name] == known[name]}
    return {name.replace(".", dots): value for name, value in values.items()}


def _rounded_truths(
    each: Tree, rows: Sequence[Sequence[float]], request: Mapping[str, Any]
) -> list[bool | None]:
    """Return what the engine says when whole numbers are rounded before they meet others, as CEL does."""
    known = {**request, "rounded": float(request["tier"])} if "tier" in request else request
    text = text_of(rounded(each), random.Random(0))
    return [row[0] for row in engine_truths([text], rows, known)]


def _judge(
    ours: Sequence[bool | None], theirs: Sequence[Sequence[bool | None]], counts: Counter[str]
) -> list[str]:
    """Return what the engine and CEL, with a NaN left out and as a value, say differently for no reason."""
    wrong = []
    for step, (mine, (left_out, as_value)) in enumerate(zip(ours, theirs, strict=True)):
        counts["evaluations"] += 1
        counts["evaluations that are undecided here and an error in CEL"] += mine is None and left_out is None
        if mine is not left_out:
            wrong.append(f"at step {step} the engine says {mine}, CEL {left_out}")
        elif as_value is not mine:
            counts[NAN] += 1
            if mine is not None:
                wrong.append(f"at step {step} the engine says {mine}, CEL on a NaN {as_value}")
    return wrong


def main() -> int:
    """Print the counts; 1 where something cannot be argued."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        oracle = Oracle()
    except ImportError:
        print(
            "the package cel-expr-python is missing; it is one of the development packages", file=sys.stderr
        )
        return 2
    draw, counts = random.Random(arguments.seed), Counter[str]()
    wrong: list[str] = []
    started = time.perf_counter()
    while counts["conditions"] < arguments.examples:
        wrong += compare(oracle, draw, counts, min(BATCH, arguments.examples - counts["conditions"]))
    figures = {**counts, "not argued": len(wrong), "elapsed_s": round(time.perf_counter() - started, 1)}
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:75} {value:12,}")
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
