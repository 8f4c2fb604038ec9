"""A guard takes another policy while it runs: whole, tried, audited, and never in the middle of a request."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

import guardsteer
from guardsteer.audit import open_journal, read, verify
from guardsteer.core.events import ActivationBegan, PolicyAdopted, PolicyRefused, RequestStarted
from guardsteer.errors import PolicyError, RequestError
from tests.runtime.harness import SPECIAL, Bench, batch, bench

TOKENS = 10
PROMPT = [40, 77, 90, 101, 60, 45, 33]


def policy(rule: str, vector: str) -> str:
    return (
        f"guardsteer: 1\nname: {rule}\n"
        f"vectors: {{{vector}: {{use: ./none, positions: [last_prompt_token, generated]}}}}\n"
        f'rules: [{{id: {rule}, when: "true", add: {{vector: {vector}, strength: 0.9}}}}]\n'
    )


FIRST, SECOND = policy("first", "one"), policy("second", "two")
CASES = """
guardsteer: 1
cases:
  - name: it pushes
    signals: [{}]
    expect: [{at: 0, rules: {second: RULE}}]
"""


class At(LogitsProcessor):
    """Calls ``act`` once, when the fourth token is about to be chosen."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] == len(PROMPT) + 3:
            self.act()
        return scores


def write(folder: Path, text: str, name: str = "policy.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def wrap(made: Bench, path: Path, **options: Any) -> Any:
    given = {"vectors": made.vectors, "classifiers": made.classifiers, **options}
    return guardsteer.wrap(made.model, made.tokenizer, policy=path, **given)


def run(model: Any, *steps: At) -> list[int]:
    ids: list[int] = model.generate(
        **batch([PROMPT]),
        max_new_tokens=TOKENS,
        do_sample=False,
        suppress_tokens=list(SPECIAL),
        logits_processor=list(steps),
    )[0].tolist()
    return ids[len(PROMPT) :]


def elsewhere(act: Callable[[], object]) -> Callable[[], None]:
    """Return ``act`` to be called in another thread, and waited for."""

    def call() -> None:
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()

    return call


@pytest.fixture
def made() -> Bench:
    return bench("llama")


def expected(made: Bench, folder: Path, text: str) -> list[int]:
    guard = wrap(made, write(folder / "expected", text))
    found = run(guard)
    guard.detach()
    return found


def test_a_request_under_way_keeps_its_policy_and_the_next_has_the_new_one(
    made: Bench, tmp_path: Path
) -> None:
    one, two = expected(made, tmp_path, FIRST), expected(made, tmp_path, SECOND)
    assert one != two
    journal = open_journal(tmp_path / "log")
    guard = wrap(made, write(tmp_path, FIRST), audit=journal)
    first = guard.policy.digest
    changed = write(tmp_path / "new", SECOND)
    assert run(guard, At(elsewhere(lambda: guard.reload(changed)))) == one
    assert guard.policy.name == "second"
    assert run(guard) == two
    guard.detach()
    journal.close()
    events = [stored.event for stored in read(tmp_path / "log")]
    adopted = [event for event in events if isinstance(event, PolicyAdopted) and event.source == "reload"]
    assert [(event.policy_digest, event.text) for event in adopted] == [(guard.policy.digest, SECOND)]
    digests = [event.policy_digest for event in events if isinstance(event, RequestStarted)]
    assert digests == [first, guard.policy.digest]
    assert [event.rule for event in events if isinstance(event, ActivationBegan)] == ["first", "second"]


def test_hooks_follow_the_policies_in_use(made: Bench, tmp_path: Path) -> None:
    def hooked() -> list[int]:
        return [place for place, layer in enumerate(made.model.model.layers) if "forward" in vars(layer)]

    guard = wrap(made, write(tmp_path, FIRST))
    assert hooked() == [1, 2]
    during: list[list[int]] = []
    changed = write(tmp_path / "new", policy("third", "three"))

    def change() -> None:
        guard.reload(changed)
        during.append(hooked())

    run(guard, At(elsewhere(change)))
    assert during == [[0, 1, 2, 3]]
    assert hooked() == [0, 3]
    guard.detach()
    assert hooked() == []


@pytest.mark.parametrize(
    ("text", "cases", "told"),
    [
        (SECOND.replace("vector: two", "vector: too"), "", "too"),
        (SECOND, CASES.replace("RULE", "rests"), "does not pass its own cases"),
        (SECOND.replace("two", "four"), "", "none"),
        ("guardsteer: 1\nname: [", "", "policy.yaml"),
    ],
)
def test_a_policy_that_is_not_fit_is_refused_and_the_one_in_force_stays(
    text: str, cases: str, told: str, made: Bench, tmp_path: Path
) -> None:
    journal = open_journal(tmp_path / "log")
    guard = wrap(made, write(tmp_path, FIRST), audit=journal)
    before = run(guard)
    bad = write(tmp_path / "bad", text)
    if cases:
        write(tmp_path / "bad", cases, "tests.yaml")
    with pytest.raises(guardsteer.errors.GuardsteerError, match=told):
        guard.reload(bad)
    assert guard.policy.name == "first"
    assert run(guard) == before
    guard.detach()
    journal.close()
    refused = [stored.event for stored in read(tmp_path / "log") if isinstance(stored.event, PolicyRefused)]
    assert len(refused) == 1
    assert told in refused[0].error


def test_cases_that_pass_let_a_policy_in_and_can_be_required(made: Bench, tmp_path: Path) -> None:
    guard = wrap(made, write(tmp_path, FIRST))
    good = write(tmp_path / "good", SECOND)
    with pytest.raises(PolicyError, match="no cases"):
        guard.reload(good, require_tests=True)
    write(tmp_path / "good", CASES.replace("RULE", "fires"), "tests.yaml")
    guard.reload(good, require_tests=True)
    assert guard.policy.name == "second"
    guard.detach()


def test_a_policy_that_was_in_force_can_be_had_back_by_its_digest(made: Bench, tmp_path: Path) -> None:
    guard = wrap(made, write(tmp_path, FIRST))
    first = guard.policy.digest
    with pytest.raises(RequestError, match="0 policies fit"):
        guard.rollback()
    second = guard.reload(write(tmp_path / "new", SECOND))
    third = guard.reload(write(tmp_path / "new", policy("third", "three")))
    with pytest.raises(RequestError, match="0 policies fit"):
        guard.rollback("b3:nothing")
    with pytest.raises(RequestError, match="3 policies fit"):
        guard.rollback("b3:")
    assert guard.rollback(first[:12]) == first
    assert guard.policy.name == "first"
    assert guard.rollback() == third
    assert guard.rollback(second) == second
    guard.detach()
    with pytest.raises(RequestError, match="detached"):
        guard.rollback(first)


def wait_for(found: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_watched_file_is_adopted_when_it_changes_and_a_bad_one_is_not(made: Bench, tmp_path: Path) -> None:
    path = write(tmp_path, FIRST)
    journal = open_journal(tmp_path / "log")
    guard = wrap(made, path, audit=journal)
    guard.watch(path, every_s=0.01)
    write(tmp_path, "guardsteer: 1\nname: broken\nrules: 3\n")
    wait_for(lambda: any(isinstance(stored.event, PolicyRefused) for stored in read(tmp_path / "log")))
    assert guard.policy.name == "first"
    path.unlink()
    time.sleep(0.05)
    write(tmp_path, SECOND)
    wait_for(lambda: guard.policy.name == "second")
    guard.detach()
    write(tmp_path, FIRST)
    time.sleep(0.05)
    assert guard.policy.name == "second"
    journal.close()
    assert verify(tmp_path / "log").ok


def test_a_watched_link_is_followed_when_it_is_swapped(made: Bench, tmp_path: Path) -> None:
    write(tmp_path / "v1", FIRST)
    write(tmp_path / "v2", SECOND)
    link, other = tmp_path / "live", tmp_path / "live.new"
    link.symlink_to(tmp_path / "v1", target_is_directory=True)
    guard = wrap(made, link / "policy.yaml")
    guard.watch(link, every_s=0.01)
    other.symlink_to(tmp_path / "v2", target_is_directory=True)
    os.replace(other, link)
    wait_for(lambda: guard.policy.name == "second")
    guard.detach()


def test_no_request_sees_half_a_policy_however_many_change_it(made: Bench, tmp_path: Path) -> None:
    wanted = {"first": expected(made, tmp_path, FIRST), "second": expected(made, tmp_path, SECOND)}
    paths = [write(tmp_path / "a", FIRST), write(tmp_path / "b", SECOND)]
    journal = open_journal(tmp_path / "log")
    guard = wrap(made, paths[0], audit=journal)
    names = {guard.policy.digest: "first"}
    results: dict[str, list[int]] = {}
    done = threading.Event()

    def ask(worker: int) -> None:
        for turn in range(4):
            name = f"{worker}-{turn}"
            ids = guard.generate(
                **batch([PROMPT]),
                max_new_tokens=TOKENS,
                do_sample=False,
                suppress_tokens=list(SPECIAL),
                guard={"request": name},
            )
            results[name] = ids[0].tolist()[len(PROMPT) :]

    def change() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            names[guard.reload(paths[turn % 2])] = ("first", "second")[turn % 2]

    changer = threading.Thread(target=change)
    changer.start()
    workers = [threading.Thread(target=ask, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.set()
    changer.join()
    guard.detach()
    journal.close()
    events = [stored.event for stored in read(tmp_path / "log")]
    under = {
        event.request: names[event.policy_digest] for event in events if isinstance(event, RequestStarted)
    }
    rules = {event.request: event.rule for event in events if isinstance(event, ActivationBegan)}
    assert len(results) == 32
    assert rules == under
    assert {name: wanted[under[name]] for name in results} == results
    assert set(under.values()) == {"first", "second"}
