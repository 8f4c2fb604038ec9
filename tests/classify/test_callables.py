"""A user's own code as a classifier."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.classify import combine, from_callable, from_states
from guardsteer.classify.callables import check_given
from guardsteer.core.events import Attached, ClassifierFailed
from guardsteer.errors import ClassifierError
from tests.runtime.harness import SPECIAL, batch, bench, policy_file

POLICY = """
guardsteer: 1
name: own
classifiers:
  shouting: {use: ./none, on: generation}
rules:
  - {id: loud, when: shouting.score >= 0.5, observe: true}
"""


def _score(function: Callable[[str], Any], text: str = "one. ", **options: Any) -> list[float]:
    state = from_callable(function, name="own", version="1", **options).start()
    state.push(text)
    return list(state.scores())


def _none(_: str) -> float:
    return 0.0


class _Vowels:
    """A row's object that counts vowels."""

    def __init__(self, vowels: int = 0, length: int = 0) -> None:
        self.vowels, self.length = vowels, length

    def push(self, text: str) -> None:
        self.vowels += sum(map(text.count, "aeiou"))
        self.length += len(text)

    def scores(self) -> float:
        return self.vowels / self.length

    def fork(self) -> _Vowels:
        return _Vowels(self.vowels, self.length)


@pytest.mark.parametrize(
    ("function", "outputs", "expected"),
    [
        (lambda _: 0.25, ("score",), [0.25]),
        (lambda _: 1, ("score",), [1.0]),
        (lambda _: True, ("score",), [1.0]),
        (lambda _: np.float32(0.5), ("score",), [0.5]),
        (lambda _: [0.25, 0.5], ("a", "b"), [0.25, 0.5]),
        (lambda _: {"b": 0.5, "a": 0.25}, ("a", "b"), [0.25, 0.5]),
        (lambda _: {"score": 0.5}, ("score",), [0.5]),
    ],
)
def test_a_function_may_return_scores_in_three_ways(
    function: Callable[[str], Any], outputs: tuple[str, ...], expected: list[float]
) -> None:
    """One number, several in order, or all by name."""
    assert _score(function, outputs=outputs) == expected


def test_a_score_may_be_missing() -> None:
    """nan says so, and the runtime takes it for missing."""
    assert math.isnan(_score(lambda _: math.nan)[0])


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("a secret", "returned a str for score"),
        (None, "returned a NoneType for score"),
        (1.5, "returned 1.5 for score, expected a number from 0 to 1"),
        (-0.1, "returned -0.1 for score"),
        ([0.5, 0.5], "returned 2 scores, expected 1: score"),
        ([], "returned 0 scores"),
        (["a secret"], "returned a str for score"),
        ({"other": 0.5}, "expected exactly score"),
        ({"score": 0.5, "a secret": 0.5}, "mapping of 2 other keys"),
    ],
)
def test_what_is_no_score_is_an_error_that_quotes_nothing(returned: Any, told: str) -> None:
    """The message says what came by type or number, and never by content."""
    with pytest.raises(ClassifierError, match="callable:own@1") as caught:
        _score(lambda _: returned)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_function_is_called_where_its_schedule_says() -> None:
    """With all the text so far, and not for every token."""
    seen: list[str] = []

    def function(text: str) -> float:
        seen.append(text)
        return 0.5

    state = from_callable(function, name="own", version="1", read="every 2").start()
    for piece in ("a ", "b ", "c ", "d "):
        state.push(piece)
        state.scores()
    assert seen == ["a b ", "a b c d "]


def test_objects_follow_the_stream() -> None:
    """Each row has its own, and a copy goes its own way."""
    state = from_states(_Vowels, name="vowels", version="1").start()
    state.push("ab")
    twin = state.fork()
    state.push("aa")
    twin.push("bb")
    assert list(state.scores()) == [0.75]
    assert list(twin.scores()) == [0.25]


def test_an_object_that_is_no_state_is_an_error() -> None:
    """It says what is lacking."""
    with pytest.raises(ClassifierError, match=r"a dict has no push and no scores and no fork"):
        from_states(dict, name="own", version="1").start()  # type: ignore[arg-type]  # refused at run time


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": ""}, "name ''"),
        ({"name": "a b"}, "name 'a b'"),
        ({"version": 1}, "version 1"),
        ({"outputs": ()}, "outputs ()"),
        ({"outputs": ("a", "a")}, "outputs"),
        ({"outputs": "score"}, "outputs 'score'"),
        ({"outputs": ("a b",)}, "outputs"),
        ({"read": "always"}, "expected prompt, sentences, or every N"),
    ],
)
def test_a_callable_needs_a_name_and_a_version(options: dict[str, Any], told: str) -> None:
    """Whatever cannot be one is refused when it is wrapped."""
    with pytest.raises(ClassifierError) as caught:
        from_callable(lambda _: 0.5, **{"name": "own", "version": "1", **options})
    assert told in str(caught.value)


def test_a_bare_function_is_refused_with_the_way_out() -> None:
    """What the log could not name is no classifier."""
    with pytest.raises(
        ClassifierError, match=r"classifiers\['loud'\] is a function.*from_callable\(f, name='loud'"
    ):
        check_given({"loud": lambda _: 0.5})
    with pytest.raises(ClassifierError, match=r"is a dict.*outputs as a tuple"):
        check_given({"loud": {}})


def _generate(folder: Path, classifier: Any, text: str = POLICY) -> list[Any]:
    made = bench("llama")
    shutil.rmtree(folder / "log", ignore_errors=True)
    with open_journal(folder / "log") as journal:
        guard = guardsteer.wrap(
            made.model,
            made.tokenizer,
            policy=policy_file(folder, text),
            classifiers={"shouting": classifier},
            audit=journal,
        )
        with guard:
            guard.generate(**batch([[55, 66, 80]]), max_new_tokens=6, suppress_tokens=list(SPECIAL))
    return [record.event for record in read(folder / "log")]


def test_the_log_says_that_it_was_a_callable_and_which(tmp_path: Path) -> None:
    """Name and version stand where the digest of an asset would."""
    events = _generate(tmp_path, from_callable(lambda _: 0.5, name="loud", version="2.1"))
    attached = next(event for event in events if isinstance(event, Attached))
    assert attached.classifiers == {"shouting": "callable:loud@2.1"}


def test_a_prompt_without_a_full_stop_is_read_to_its_end(tmp_path: Path) -> None:
    """Whatever the schedule, where a classifier reads prompts, by itself or in a combination."""
    for made in (
        lambda each: each,
        lambda each: combine({"a": each, "b": from_callable(_none, name="b", version="1")}),
    ):
        seen: list[str] = []

        def function(text: str, seen: list[str] = seen) -> float:
            seen.append(text)
            return 0.5

        own = made(from_callable(function, name="own", version="1"))
        _generate(tmp_path, own, POLICY.replace("generation}", "prompt}"))
        assert len(seen) == 1
        assert len(seen[0]) == 3


def test_a_wrong_return_is_told_in_the_log(tmp_path: Path) -> None:
    """The row's score is missing from there on, and the log says why."""
    own = from_callable(lambda _: 7.0, name="loud", version="1")
    events = _generate(tmp_path, own, POLICY.replace("generation}", "all}"))
    failed = [event.error for event in events if isinstance(event, ClassifierFailed)]
    assert failed == [
        "ClassifierError: callable:loud@1: returned 7.0 for score, expected a number from 0 to 1"
    ]


def test_with_a_deadline_a_callable_runs_in_a_thread_of_its_own(tmp_path: Path) -> None:
    """It does not hold the step up in its own thread."""
    seen: set[str] = set()

    def function(_: str) -> float:
        seen.add(threading.current_thread().name)
        return 0.5

    own = from_callable(function, name="loud", version="1")
    _generate(tmp_path, own, POLICY.replace("generation}", "prompt, deadline_ms: 5000}"))
    assert seen
    assert all(name.startswith("guardsteer-shouting") for name in seen)
