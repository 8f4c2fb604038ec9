"""Change under load: no request sees half a policy, and a stop acts within one step.

``python -m benchmarks.changes [--threads 64] [--stops 160] [--seconds 60] [--json]``. Threads generate
short answers with a tiny random model while another thread goes back and forth between two policies, one of
which pushes along one vector by one rule, the other along another. In a second part the kill switch is
thrown and taken back again and again: for each stop, passes that begin after ``Guard.stop`` returned and
whose plans stood before ``resume`` was called are counted, steered and not. A trial is a request under way
that such a pass was made for; each stop waits until there are as many as threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import guardsteer
from guardsteer.audit import open_journal, read, verify
from guardsteer.core.events import ActivationBegan, RequestStarted
from guardsteer.runtime.generation import Generation
from tests.runtime.harness import SPECIAL, Bench, batch, bench

PROMPT = [40, 77, 90, 101, 60, 45, 33]


def policy(rule: str, vector: str) -> str:
    """Return a policy of one rule that always pushes along one vector."""
    return (
        f"guardsteer: 1\nname: {rule}\n"
        f"vectors: {{{vector}: {{use: ./none, positions: [last_prompt_token, generated]}}}}\n"
        f'rules: [{{id: {rule}, when: "true", add: {{vector: {vector}, strength: 0.9}}}}]\n'
    )


class Askers:
    """Threads that ask for short answers until they are told to stop."""

    def __init__(self, guard: Any, threads: int, tokens: int) -> None:
        self.guard = guard
        self.tokens = tokens
        self.answers: dict[str, list[int]] = {}
        self.errors: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(threads)]

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, place: int) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            name = f"{place}-{turn}"
            try:
                ids = self.guard.generate(
                    **batch([PROMPT]),
                    max_new_tokens=self.tokens,
                    do_sample=False,
                    suppress_tokens=list(SPECIAL),
                    guard={"request": name},
                )
            except Exception as error:  # whatever it is, it is a finding
                self.errors.append(repr(error))
                return
            self.answers[name] = ids[0].tolist()[len(PROMPT) :]


def reloads(made: Bench, folder: Path, threads: int, seconds: float) -> dict[str, Any]:
    """Change the policy under ``threads`` requests for some seconds, and compare answers with the log."""
    texts = {"first": policy("first", "one"), "second": policy("second", "two")}
    paths = {}
    for name, text in texts.items():
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(text)
    given: dict[str, Any] = {"vectors": made.vectors, "classifiers": made.classifiers}
    wanted = {}
    for name, path in paths.items():
        with guardsteer.wrap(made.model, made.tokenizer, policy=path, **given) as guard:
            ids = guard.generate(
                **batch([PROMPT]), max_new_tokens=8, do_sample=False, suppress_tokens=list(SPECIAL)
            )
            wanted[name] = ids[0].tolist()[len(PROMPT) :]
    journal = open_journal(folder / "log")
    guard = guardsteer.wrap(made.model, made.tokenizer, policy=paths["first"], audit=journal, **given)
    names = {guard.policy.digest: "first"}
    turns = 0
    until = time.monotonic() + seconds
    with Askers(guard, threads, 8) as askers:
        while time.monotonic() < until:
            turns += 1
            name = ("first", "second")[turns % 2]
            names[guard.reload(paths[name])] = name
    guard.detach()
    journal.close()
    under: dict[str, set[str]] = {}
    rules: dict[str, set[str]] = {}
    for stored in read(folder / "log"):
        if isinstance(stored.event, RequestStarted):
            under.setdefault(stored.event.request, set()).add(names[stored.event.policy_digest])
        elif isinstance(stored.event, ActivationBegan):
            rules.setdefault(stored.event.request, set()).add(stored.event.rule)
    mixed = sum(len(found) != 1 for found in (*under.values(), *rules.values()))
    wrong = sum(
        rules.get(name) != under[name] or [answer] != [wanted[kind] for kind in under[name]]
        for name, answer in askers.answers.items()
    )
    return {
        "threads": threads,
        "reloads": turns,
        "requests": len(askers.answers),
        "by_policy": dict(Counter(kind for found in under.values() for kind in found)),
        "requests_with_two_policies": mixed,
        "answers_unlike_their_policy": wrong,
        "errors": len(askers.errors),
        "log_verifies": verify(folder / "log").ok,
    }


class _Pushes(dict[Any, Any]):
    """What hooks add by themselves; tells whenever one is about to."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def get(self, point: Any, default: Any = None) -> Any:
        """Return what is added at a point."""
        found = super().get(point, default)
        if found is not None:
            self._tell()
        return found


class Passes:
    """Notes when each pass began and when its plans stood, and whether it was steered."""

    def __init__(self) -> None:
        self.steered: list[tuple[int, int]] = []
        self.all: list[tuple[int, int, Generation]] = []
        self._mine = threading.local()
        self._kept = Generation.begin_pass, Generation.at_point

    def __enter__(self) -> Passes:
        begin_pass, at_point = self._kept

        def steered() -> None:
            self.steered.append(self._mine.span)

        def begin(generation: Generation, *given: Any) -> None:
            if not isinstance(generation.pushes, _Pushes):
                generation.pushes = generation._layer.pushes = _Pushes(steered)
            began_ns = time.monotonic_ns()
            begin_pass(generation, *given)
            self._mine.span = began_ns, time.monotonic_ns()
            self.all.append((*self._mine.span, generation))

        def at(generation: Generation, *given: Any) -> Any:
            found = at_point(generation, *given)
            if found is not None:
                steered()
            return found

        Generation.begin_pass, Generation.at_point = begin, at  # type: ignore[method-assign,assignment]  # watched
        return self

    def __exit__(self, *_: object) -> None:
        Generation.begin_pass, Generation.at_point = self._kept  # type: ignore[method-assign]  # given back


def stops(made: Bench, folder: Path, threads: int, count: int) -> dict[str, Any]:
    """Throw the kill switch ``count`` times under ``threads`` requests."""
    path = folder / "stops.yaml"
    path.write_text(policy("first", "one"))
    given: dict[str, Any] = {"vectors": made.vectors, "classifiers": made.classifiers}
    guard = guardsteer.wrap(made.model, made.tokenizer, policy=path, **given)
    spans: list[tuple[int, int]] = []
    with Passes() as passes, Askers(guard, threads, 64) as askers:
        while len(spans) < count and not askers.errors:
            steered = len(passes.steered)
            while len(passes.steered) == steered:
                time.sleep(0.0002)
            guard.stop()
            stopped_ns, seen = time.monotonic_ns(), len(passes.all)
            while len({generation for *_, generation in passes.all[seen:]}) < threads:
                time.sleep(0.001)
            spans.append((stopped_ns, time.monotonic_ns()))
            guard.resume()
    guard.detach()
    starts = [first for first, _ in spans]

    def within(began_ns: int, decided_ns: int) -> int:
        place = bisect_right(starts, began_ns) - 1
        return place if place >= 0 and decided_ns < spans[place][1] else -1

    late = sum(within(*span) >= 0 for span in passes.steered)
    trials = {(place, made_for) for *span, made_for in passes.all if (place := within(*span)) >= 0}
    return {
        "threads": threads,
        "stops": len(spans),
        "trials": len(trials),
        "passes": len(passes.all),
        "steered_passes_that_began_within_a_stop": late,
        "errors": len(askers.errors),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--stops", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to change policies")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    # Threads take turns more often than by default, so that stops fall between more pairs of passes.
    sys.setswitchinterval(0.0005)
    made = bench("llama")
    with tempfile.TemporaryDirectory() as name:
        results = {
            "reloads": reloads(made, Path(name), given.threads, given.seconds),
            "stops": stops(made, Path(name), given.threads, given.stops),
        }
    print(json.dumps(results, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
