"""What fails without a choice: it is refused, or stops what steers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import guardsteer
from guardsteer.audit import read
from guardsteer.core.events import PolicyRefused, RequestFailed, RequestStarted, Stopped
from guardsteer.errors import BindingError, PolicyError
from tests.models import tiny
from tests.runtime.failures.lines import PROMPT, TOKENS, Line, bench_for, run, scheduled
from tests.runtime.harness import SPECIAL, Bench, batch, policy_file, random_vector

__all__ = ["OTHERS"]

ALWAYS = """
guardsteer: 1
name: always
vectors: {one: {use: ./none, positions: [generated]}}
rules: [{id: push, when: "true", add: {vector: one, strength: 2.0}}]
"""
GENERATED = [frozenset({"generated"})] * 2


class At:
    """A streamer that calls once, when so many tokens were written; the prompt comes first."""

    def __init__(self, token: int, act: Any) -> None:
        self.left = token + 1
        self.act = act

    def put(self, _: Tensor) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()

    def end(self) -> None:
        pass


def wrap(made: Bench, folder: Path, text: str = ALWAYS, **options: Any) -> Any:
    given = {"vectors": made.vectors, "audit": folder / "log", **options}
    return guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(folder, text), **given)


def steered_until(made: Bench, end: int) -> list[int]:
    return scheduled(made, lambda step: (2.0 if 0 < step < end else 0.0, 0.0), GENERATED)


def told(folder: Path, *kinds: Any) -> list[Any]:
    return [stored.event for stored in read(folder / "log") if isinstance(stored.event, kinds)]


def check_bad_reload(row: Line, _: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    bad = folder / "other" / "policy.yaml"
    bad.parent.mkdir()
    bad.write_text(ALWAYS.replace("2.0", "1.5"))
    if row.fault == "mistake":
        bad.write_text(ALWAYS.replace("add:", "ad:"))
    else:
        cases = (
            "guardsteer: 1\ncases: [{name: idle, signals: [{}], expect: [{at: 0, rules: {push: false}}]}]\n"
        )
        (bad.parent / "tests.yaml").write_text(cases)

    def reload() -> None:
        with pytest.raises(PolicyError):
            guard.reload(bad.parent)

    with wrap(made, folder) as guard:
        before = guard.policy.digest
        assert run(guard, streamer=At(4, reload)) == [steered_until(made, TOKENS)]
        assert run(guard) == [steered_until(made, TOKENS)]
    assert {event.policy_digest for event in told(folder, RequestStarted)} == {before}
    assert len(told(folder, PolicyRefused)) == 1


def check_kill_switch(_: Line, __: str, folder: Path, ___: pytest.MonkeyPatch) -> None:
    made = bench_for()
    bare = run(made.model)
    with wrap(made, folder) as guard:
        found = run(guard, streamer=At(4, lambda: guard.stop("a drill")))
        assert found == [steered_until(made, 4)], "the pass over the fourth token is steered no more"
        assert run(guard) == bare
    assert [(event.by, event.reason) for event in told(folder, Stopped)] == [("call", "a drill")]


def check_refused(row: Line, _: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    bare = run(made.model)
    options: dict[str, Any] = {}
    text = ALWAYS
    expected: type[Exception] = PolicyError
    message = "policy.yaml:5"
    if row.fault == "mistake":
        text = ALWAYS.replace("add:", "ad:")
    elif row.fault == "vector":
        other = random_vector(tiny("llama", seed=9), made.tokenizer, "one", (2,), 5)
        options["vectors"], expected, message = {"one": other}, BindingError, "one"
    else:
        (folder / "damaged").mkdir()
        (folder / "damaged" / "classifier.json").write_text("{}")
        text = ALWAYS.replace("vectors:", "classifiers: {said: {use: ./damaged, on: prompt}}\nvectors:")
        message = "classifier.json"
    with pytest.raises(expected, match=message):
        wrap(made, folder, text, **options)
    assert "generate" not in vars(made.model)
    assert run(made.model) == bare


def check_generation_raises(_: Line, __: str, folder: Path, ___: pytest.MonkeyPatch) -> None:
    made = bench_for()

    def fail() -> None:
        raise KeyError("streamer")

    with wrap(made, folder) as guard:
        with pytest.raises(KeyError):
            guard.generate(**batch([PROMPT]), max_new_tokens=TOKENS, streamer=At(4, fail))
        assert run(guard, suppress_tokens=list(SPECIAL)) == [steered_until(made, TOKENS)]
    assert [event.error for event in told(folder, RequestFailed)] == ["KeyError"]


def happens(what: str) -> dict[str, str]:
    return {"what happens": what}


STAYS = happens("`reload` raises, the policy in force stays, new requests included; `policy_refused`")
RAISES = "`wrap` raises with {}, and the model is as it was"
OTHERS = [
    Line("a policy to reload has a mistake", STAYS, check_bad_reload, "mistake"),
    Line("the cases of a policy to reload fail", STAYS, check_bad_reload, "cases"),
    Line(
        "the kill switch is thrown",
        happens("every strength is zero from the next pass on, in flight too; `stopped`"),
        check_kill_switch,
    ),
    Line(
        "a policy has a mistake",
        happens(RAISES.format("every mistake and its place")),
        check_refused,
        "mistake",
    ),
    Line(
        "a vector belongs to another model",
        happens(RAISES.format("a `BindingError`")),
        check_refused,
        "vector",
    ),
    Line(
        "a classifier's files are damaged",
        happens(RAISES.format("the file and what is wrong with it")),
        check_refused,
        "classifier",
    ),
    Line(
        "generation raises",
        happens("the error goes on to the caller; `request_failed`; other requests are not touched"),
        check_generation_raises,
    ),
]
