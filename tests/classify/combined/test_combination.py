"""Classifiers made of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from guardsteer.assets import Catalog
from guardsteer.classify.combined.combination import (
    LEAST,
    Blend,
    By,
    CombinationClassifier,
    Stack,
    combine,
    log_odds,
)
from guardsteer.classify.combined.files import Member, write_combination
from guardsteer.classify.load import load_folder
from guardsteer.classify.pace.opening import OpeningClassifier, opening_of
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError
from tests.classify.folders import edit_card, edit_tensors, linear_folder, patterns_folder, probe_folder

_SHARE = st.floats(0.0, 1.0)
_PIECES = st.lists(
    st.sampled_from(["money ", "kill you", " damn", "kind", "\n", "é", " refund now"]), max_size=9
)


class _Counting:
    """Scores a text by its share of a letter; counts what its states were given."""

    def __init__(self, letter: str, *, breaks_at: str = "") -> None:
        self.letter, self.breaks_at = letter, breaks_at
        self.outputs: tuple[str, ...] = ("score",)
        self.digest = f"b3:{letter}"
        self.given: list[str] = []

    def start(self) -> _CountingState:
        return _CountingState(self, "")


class _CountingState:
    def __init__(self, of: _Counting, text: str) -> None:
        self.of, self.text = of, text

    def push(self, text: str) -> None:
        self.of.given.append(text)
        self.text += text
        if self.of.breaks_at and self.of.breaks_at in self.text:
            raise ValueError("broken")

    def scores(self) -> Sequence[float]:
        return (self.text.count(self.of.letter) / max(1, len(self.text)),)

    def fork(self) -> _CountingState:
        return _CountingState(self.of, self.text)


def _read(classifier: TextClassifier, *pieces: str) -> list[float]:
    state = classifier.start()
    for piece in pieces:
        state.push(piece)
    return list(state.scores())


# --- what the scores are -------------------------------------------------------------------------


@given(st.lists(st.tuples(_SHARE, _SHARE), min_size=2, max_size=5))
def test_max_and_mean_go_output_by_output(rows: list[tuple[float, float]]) -> None:
    """The highest and the mean of each output over all members."""
    values = [value for row in rows for value in row]
    table = np.array(rows)
    assert list(Blend("max", len(rows), 2).of(values)) == table.max(axis=0).tolist()
    assert np.allclose(Blend("mean", len(rows), 2).of(values), table.mean(axis=0), atol=1e-12)


@given(st.lists(_SHARE, min_size=2, max_size=5))
def test_one_output_is_combined_as_several_are(values: list[float]) -> None:
    """The short way for a single score gives what the general way gives."""
    words: tuple[By, ...] = ("max", "mean")
    for by in words:
        several = Blend(by, len(values), 2).of([each for value in values for each in (value, 0.5)])
        assert Blend(by, len(values), 1).of(values)[0] == pytest.approx(several[0], abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_stack_is_the_logistic_regression_that_it_was_fitted_as(classes: int) -> None:
    """Its probabilities are those of scikit-learn over the members' log-odds, within rounding."""
    draw = np.random.default_rng(0)
    values = draw.uniform(0.01, 0.99, size=(60, 3))
    odds = np.log(values / (1 - values))
    center = odds.mean(axis=0)
    model = LogisticRegression(C=3.0).fit(odds - center, np.arange(60) % classes)
    table = Stack(
        weight=tuple(tuple(row) for row in model.coef_.T.tolist()),
        bias=tuple(model.intercept_.tolist()),
        center=tuple(center.tolist()),
        activation="sigmoid" if classes == 2 else "softmax",
    )
    expected = model.predict_proba(odds - center)
    for row, wanted in zip(values.tolist(), expected[:, 1:] if classes == 2 else expected, strict=True):
        assert np.allclose(table.blend(row), wanted, atol=1e-12)


def test_a_member_that_read_nothing_yet_weighs_nothing() -> None:
    """A score of exactly 0.0 counts as the average one, not as proof of the contrary."""
    table = Stack(((1.0,), (1.0,)), (0.0,), (0.5, -2.0), "sigmoid")
    assert list(table.blend((0.0, 0.0))) == [0.5]
    assert table.blend((0.0, 0.9))[0] == pytest.approx(1 / (1 + math.exp(-(math.log(9) + 2))))


@given(_SHARE)
def test_log_odds_are_bounded(share: float) -> None:
    """Certainty counts as one in a million."""
    bounded = min(max(share, LEAST), 1 - LEAST)
    assert log_odds(share) == pytest.approx(math.log(bounded / (1 - bounded)), abs=1e-6)


# --- streams -------------------------------------------------------------------------------------


@given(_PIECES)
def test_a_stream_is_the_combination_of_its_members_streams(pieces: list[str]) -> None:
    """At every step the score is that of the members' scores at that step."""
    one, other = _Counting("e"), _Counting("o")
    combined = combine({"one": one, "other": other}, "mean")
    state, states = combined.start(), [one.start(), other.start()]
    for piece in pieces:
        state.push(piece)
        for each in states:
            each.push(piece)
        expected = sum(each.scores()[0] for each in states) / 2
        assert state.scores()[0] == pytest.approx(expected, abs=1e-12)


@given(_PIECES, _PIECES, _PIECES)
def test_forks_are_independent(past: list[str], one: list[str], other: list[str]) -> None:
    """A copy and its original score what each was given."""
    combined = combine({"e": _Counting("e"), "o": _Counting("o")})
    state = combined.start()
    for piece in past:
        state.push(piece)
    twin = state.fork()
    for piece in one:
        state.push(piece)
    for piece in other:
        twin.push(piece)
    assert list(state.scores()) == _read(combined, *past, *one)
    assert list(twin.scores()) == _read(combined, *past, *other)


def test_a_classifier_that_is_a_member_twice_reads_once() -> None:
    """Each distinct member is given each piece once."""
    one = _Counting("e")
    _read(combine({"a": one, "b": one, "c": _Counting("o")}), "see ", "me")
    assert one.given == ["see ", "me"]


def test_nothing_read_scores_nothing() -> None:
    """As any text classifier, it says 0.0 of nothing."""
    assert _read(combine({"a": _Counting("e"), "b": _Counting("o")})) == [0.0]


# --- missing members -----------------------------------------------------------------------------


def test_without_a_member_there_is_no_score() -> None:
    """By default a member that raises makes the combination raise, which the runtime takes for missing."""
    state = combine({"a": _Counting("e"), "bad": _Counting("o", breaks_at="x")}).start()
    state.push("see")
    with pytest.raises(ClassifierError, match="member bad: ValueError"):
        state.push("x")


def test_a_combination_may_go_on_without_a_member() -> None:
    """``without``: the others decide from there on, in copies too."""
    state = combine(
        {"a": _Counting("e"), "bad": _Counting("o", breaks_at="x")}, "mean", missing="without"
    ).start()
    state.push("oe")
    assert list(state.scores()) == [0.5]
    state.push("x")
    twin = state.fork()
    for each in (state, twin):
        each.push("e")
        assert list(each.scores()) == [0.5]


@given(st.sampled_from(["max", "mean"]), st.lists(_SHARE, min_size=1, max_size=3), st.integers(0, 3))
def test_a_missing_score_is_missing(by: Any, there: list[float], place: int) -> None:
    """nan anywhere is nan by default, wherever it stands; without it, the rest counts."""
    values = list(there)
    values.insert(place % (len(there) + 1), math.nan)
    assert all(map(math.isnan, Blend(by, len(values), 1).of(values)))
    found = Blend(by, len(values), 1, "without").of(values)[0]
    assert found == pytest.approx(max(there) if by == "max" else sum(there) / len(there), abs=1e-12)
    assert math.isnan(Blend(by, 2, 1, "without").of([math.nan, math.nan])[0])


def test_members_must_be_alike() -> None:
    """One member, other outputs and unknown words are refused, with what they are."""
    other = _Counting("o")
    other.outputs = ("match",)
    with pytest.raises(ClassifierError, match="two members or more, got 1"):
        combine({"a": _Counting("e")})
    with pytest.raises(ClassifierError, match="a gives score; b gives match"):
        combine({"a": _Counting("e"), "b": other})
    with pytest.raises(ClassifierError, match="by='stack'"):
        combine({"a": _Counting("e"), "b": _Counting("o")}, "stack")  # type: ignore[arg-type]  # refused at run time


def test_the_digest_covers_the_members() -> None:
    """Another member, another rule or another order is another classifier."""
    one, other, third = _Counting("e"), _Counting("o"), _Counting("u")
    made = [
        combine({"a": one, "b": other}),
        combine({"a": one, "b": third}),
        combine({"a": other, "b": one}),
        combine({"a": one, "b": other}, "mean"),
        combine({"a": one, "b": other}, missing="without"),
    ]
    assert len({each.digest for each in made}) == len(made)
    assert combine({"x": one, "y": other}).digest == made[0].digest


# --- the beginning alone -------------------------------------------------------------------------


@given(_PIECES, st.integers(1, 4))
def test_an_opening_is_the_text_up_to_so_many_words(pieces: list[str], words: int) -> None:
    """However it is cut, a classifier of the opening scores the opening, copied or not."""
    inner = _Counting("e")
    state = OpeningClassifier(inner, words).start()
    text = ""
    for piece in pieces:
        state.push(piece)
        text += piece
        heard = opening_of(text, words)
        assert len(heard.split()) <= words
        assert len(text.split()) <= words or len(heard.split()) == words
        assert text.startswith(heard)
        for each in (state, state.fork()):
            assert list(each.scores()) == _read(inner, heard)


# --- folders -------------------------------------------------------------------------------------


def _stacked(folder: Path) -> CombinationClassifier:
    """Write and load a stack of the words of a text, those of its opening, and patterns."""
    words = load_folder(linear_folder(folder / "words", classes=2))
    swears = load_folder(patterns_folder(folder / "swears"))
    assert hasattr(words, "start")
    assert hasattr(swears, "start")
    write_combination(
        folder / "both",
        [Member("../words", words), Member("../words", words, first_words=2), Member("../swears", swears)],
        by="stack",
        outputs=["score"],
        about={"name": "both"},
        stack={
            "weight": np.array([[1.0], [0.5], [2.0]]),
            "bias": np.array([-1.0]),
            "center": np.array([0.1, 0.2, -3.0]),
        },
    )
    found = load_folder(folder / "both")
    assert isinstance(found, CombinationClassifier)
    return found


def test_a_folder_gives_the_combination_that_was_written(tmp_path: Path) -> None:
    """Written and loaded, it scores as its table says of its members' scores."""
    found = _stacked(tmp_path)
    text = "money back now you damn fool"
    words = load_folder(tmp_path / "words")
    assert hasattr(words, "start")
    odds = [log_odds(_read(words, each)[0]) for each in (text, "money back ")]
    away = 1.0 * (odds[0] - 0.1) + 0.5 * (odds[1] - 0.2) + 2.0 * (log_odds(1.0) + 3.0) - 1.0
    assert _read(found, text[:7], text[7:]) == [pytest.approx(1 / (1 + math.exp(-away)), abs=1e-12)]
    assert len(found.readers) == 3


def test_a_member_that_is_another_now_is_refused(tmp_path: Path) -> None:
    """The card names its members by digest, so a retrained one is told at once, and so is a missing one."""
    _stacked(tmp_path)
    edit_tensors(tmp_path / "words", lambda tensors: {**tensors, "bias": tensors["bias"] + 1})
    (tmp_path / "swears" / "classifier.json").unlink()
    with pytest.raises(ClassifierError) as caught:
        load_folder(tmp_path / "both")
    told = str(caught.value)
    assert "members.0: '../words': is another classifier than the combination was made of" in told
    assert "members.1: '../words'" in told
    assert "members.2: '../swears': " in told


def test_a_probe_cannot_be_a_member(tmp_path: Path) -> None:
    """It reads hidden states; the message says where it can be combined."""
    _stacked(tmp_path)
    probe_folder(tmp_path / "probe")

    def change(card: dict[str, Any]) -> None:
        card["members"][0]["use"] = "../probe"

    edit_card(tmp_path / "both", change)
    with pytest.raises(
        ClassifierError, match=r"reads hidden states and not text; combine its score in the policy"
    ):
        load_folder(tmp_path / "both")


def test_a_combination_of_itself_is_refused(tmp_path: Path) -> None:
    """A name that leads back to the folder itself ends in an error."""
    _stacked(tmp_path)

    def change(card: dict[str, Any]) -> None:
        card["members"][0]["use"] = "../both"

    edit_card(tmp_path / "both", change)
    with pytest.raises(ClassifierError, match="more than 4 deep"):
        load_folder(tmp_path / "both")


def test_members_are_found_in_the_catalogue(tmp_path: Path) -> None:
    """A bare name is looked up in the folders of assets."""
    root = tmp_path / "assets" / "classifiers"
    first, second = (
        linear_folder(root / "one", classes=2),
        linear_folder(root / "two", classes=2, hashing=True),
    )
    members = [Member(each.name, load_folder(each)) for each in (first, second)]  # type: ignore[arg-type]  # both read text
    write_combination(tmp_path / "both", members, by="max", outputs=["score"], about={"name": "both"})
    found = load_folder(tmp_path / "both", Catalog([tmp_path / "assets"]))
    assert isinstance(found, CombinationClassifier)
    highest = max(_read(each.classifier, "money back")[0] for each in members)
    assert _read(found, "money back") == [highest]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("by", "max", "files must name"),
        ("missing", "without", "cannot go on without one"),
        ("outputs", ["a", "b"], "expected"),
        ("activation", "softmax", "needs the activation sigmoid"),
        ("members", [], "at least 2"),
        ("strange", 1, "Extra inputs"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(tmp_path: Path, field: str, value: Any, told: str) -> None:
    """Each field is held to the others."""
    _stacked(tmp_path)
    edit_card(tmp_path / "both", lambda card: card.update({field: value}))
    with pytest.raises(ClassifierError, match=told):
        load_folder(tmp_path / "both")
