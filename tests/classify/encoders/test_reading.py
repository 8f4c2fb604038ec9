"""Scores by an encoder: those of transformers, of whole texts and of streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.classify.encoders.encoder import Encoder, open_encoder
from guardsteer.classify.encoders.reading import EncoderClassifier, Head
from guardsteer.classify.load import load_folder
from guardsteer.classify.pace.deadline import with_deadline
from guardsteer.classify.pace.schedule import Schedule
from guardsteer.classify.placing import placed
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import ClassifierError
from tests.classify.encoder_models import LONGEST, TEXTS, add_head, theirs

_SENTENCES = st.lists(
    st.sampled_from(
        ["I want my money back. ", "Thanks a lot", "very kind! ", "x" * 120, " 退款", "the end.\n", " "]
    ),
    max_size=14,
).map("".join)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def classifier(encoders: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> EncoderClassifier:
    folder = tmp_path_factory.mktemp(kind) / "mood"
    add_head(folder, encoders / "encoders" / kind, outputs=("calm", "angry", "asking"), window=32)
    return _load(folder, encoders)


def _load(folder: Path, encoders: Path) -> EncoderClassifier:
    loaded = load_folder(folder, encoders=[encoders / "encoders"])
    assert isinstance(loaded, EncoderClassifier)
    return loaded


class _Counted:
    """Counts the runs of a session, and holds them up while ``gate`` is closed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.runs = 0
        self.gate = threading.Event()
        self.gate.set()

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def run(self, names: Any, feeds: Any) -> Any:
        self.gate.wait(10)
        self.runs += 1
        return self._session.run(names, feeds)


def _counted(encoders: Path, kind: str = "bert") -> tuple[Encoder, _Counted]:
    """Return an encoder of its own, and its counter."""
    shared = open_encoder(encoders / "encoders" / kind)
    session = _Counted(shared._session)
    return Encoder(shared.folder, shared.manifest, session, shared._tokenizer), session


def _on(
    encoder: Encoder, schedule: Schedule, *, window: int = LONGEST, over: Any = "max"
) -> EncoderClassifier:
    draw = np.random.default_rng(1)
    head = Head(("score",), "sigmoid", draw.normal(size=(encoder.width, 1)) * 4, np.zeros(1))
    return EncoderClassifier(
        encoder=encoder, head=head, window=window, over=over, schedule=schedule, digest="b3:" + "0" * 64
    )


# --- against transformers ------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_an_embedding_is_the_one_of_transformers(encoders: Path, kind: str, text: str) -> None:
    """Tokens and numbers are those that AutoTokenizer and AutoModel give, however its tokenizer would cut."""
    encoder = open_encoder(encoders / "encoders" / kind)
    vector = encoder.vector(encoder.tokens(text)[0])
    assert np.abs(vector - theirs(encoders / "models" / kind, text)).max() < 1e-5


def test_scores_are_the_heads_of_the_embedding(
    encoders: Path, kind: str, classifier: EncoderClassifier
) -> None:
    """A softmax of embedding times weight plus bias."""
    head = classifier.head
    assert head.weight is not None
    assert head.bias is not None
    for text, found in zip(TEXTS, classifier.predict(TEXTS), strict=True):
        decisions = theirs(encoders / "models" / kind, text) @ head.weight + head.bias
        if len(classifier.encoder.tokens(text)[0]) <= classifier.cutter.content:
            assert np.abs(found - np.exp(decisions) / np.exp(decisions).sum()).max() < 1e-5


def test_a_text_scores_alone_as_among_others(classifier: EncoderClassifier) -> None:
    """What else is scored changes no bit."""
    alone = [classifier.predict([text])[0].tolist() for text in TEXTS]
    assert classifier.predict(TEXTS).tolist() == alone


@pytest.mark.parametrize(
    ("activation", "expected"), [("sigmoid", [0.5, 1.0]), ("one_vs_rest", [1 / 3, 2 / 3])]
)
def test_logits_become_probabilities(activation: Any, expected: list[float]) -> None:
    """Each by itself, or divided by their sum; far ones overflow nothing."""
    found = Head(("a", "b"), activation).scores(np.array([0.0, 900.0], dtype=np.float32))
    assert found.tolist() == pytest.approx(expected)
    assert Head(("a", "b"), "softmax").scores(np.array([0.0, 900.0], np.float32)).tolist() == [0.0, 1.0]


# --- streams ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(text=_SENTENCES, cuts=st.lists(st.integers(0, 500), max_size=8), over=st.sampled_from(["max", "mean"]))
def test_the_cut_of_a_text_makes_no_difference(
    classifier: EncoderClassifier, text: str, cuts: list[int], over: Any
) -> None:
    """Piece by piece, asked each time, scores are those of the text pushed at once, bit for bit."""
    scored = EncoderClassifier(
        encoder=classifier.encoder,
        head=classifier.head,
        window=32,
        over=over,
        schedule=Schedule("every", 3),
        digest=classifier.digest,
    )
    whole = scored.start()
    whole.push(text)
    state, twin = scored.start(), scored.start()
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    for first, end in pairwise(places):
        state.push(text[first:end])
        state.scores()
        twin = state.fork()
        twin.push("something else entirely. ")
        twin.scores()
    assert list(state.scores()) == list(whole.scores())


def test_a_stream_scores_what_the_text_up_to_there_scores(classifier: EncoderClassifier) -> None:
    """At each end of a sentence a stream says what ``predict`` says of the text so far, and keeps to it."""
    state = classifier.start()
    for word, read in (
        ("I want", ""),
        (" my money.", ""),
        (" Thanks", "I want my money. "),
        (" a lot.", "I want my money. "),
        (" The end", "I want my money. Thanks a lot. "),
        ("\n", "I want my money. Thanks a lot. The end\n"),
    ):
        state.push(word)
        assert list(state.scores()) == (classifier.predict([read])[0].tolist() if read else [0.0] * 3)


def test_a_long_text_is_read_to_its_end(encoders: Path) -> None:
    """A word far behind the first window changes the score; the highest window counts."""
    encoder, _ = _counted(encoders)
    scored = _on(encoder, Schedule("sentences"), window=32)
    filler = "the end and new lines of a " * 60
    low, word = scored.predict([filler])[0, 0], scored.predict(["money back very kind"])[0, 0]
    if word < low:
        head = scored.head
        assert head.weight is not None
        scored.head = Head(head.outputs, head.activation, -head.weight, head.bias)
    before = scored.predict([filler])[0, 0]
    after = scored.predict([filler + "money back very kind " * 12])[0, 0]
    assert after > before


@pytest.mark.parametrize("over", ["max", "mean"])
def test_windows_count_by_their_highest_or_their_mean(encoders: Path, kind: str, over: Any) -> None:
    """What a long text scores is what its windows score, one by one, put together as the card says."""
    encoder, _ = _counted(encoders, kind)
    scored = _on(encoder, Schedule("sentences"), window=32, over=over)
    text = "I want my money back, thanks. " * 12
    rest, begin, alone = text, 0, []
    while begin >= 0:
        windows, begin = scored.cutter.next(rest)
        alone += [scored.score(window.ids)[0] for window in windows]
        rest = rest[max(begin, 0) :]
    assert len(set(alone)) > 3
    expected = max(alone) if over == "max" else float(np.mean(alone))
    assert scored.predict([text])[0, 0] == pytest.approx(expected, abs=1e-12)


def test_a_step_without_a_reading_runs_nothing(encoders: Path) -> None:
    """The graph runs once for a sentence, and asking again runs nothing."""
    encoder, session = _counted(encoders)
    state = _on(encoder, Schedule("sentences")).start()
    for word in ("I", " want", " my", " money"):
        state.push(word)
        assert list(state.scores()) == [0.0]
    assert session.runs == 0
    state.push(" back. ")
    first = list(state.scores())
    assert session.runs == 1
    assert first != [0.0]
    state.push("Thanks")
    assert [list(state.scores()) for _ in range(3)] == [first] * 3
    assert session.runs == 1


def test_only_the_newest_windows_are_read_anew(encoders: Path) -> None:
    """However long a text has become, a further reading runs two windows at most."""
    encoder, session = _counted(encoders)
    state = _on(encoder, Schedule("every", 1), window=32).start()
    state.push("the end and new lines of a " * 200)
    state.scores()
    most = 0
    for word in ["I", "want", "my", "money", "back", "thanks", "a", "lot"] * 6:
        before = session.runs
        state.push(word + " ")
        state.scores()
        most = max(most, session.runs - before)
    assert 0 < most <= 2


def test_tables_of_one_encoder_share_one_reading(encoders: Path, tmp_path: Path) -> None:
    """Classifiers of one encoder have one session in memory, and one text is run once for all of them."""
    for seed, name in enumerate(("one", "other")):
        add_head(tmp_path / name, encoders / "encoders" / "bert", seed=seed)
    one, other = (_load(tmp_path / name, encoders) for name in ("one", "other"))
    assert one.encoder is other.encoder
    assert one.digest != other.digest
    encoder, session = _counted(encoders)
    scored = [_on(encoder, Schedule("sentences")) for _ in range(3)]
    assert len({each.predict(["I want my money back"])[0, 0] for each in scored}) == 1
    assert session.runs == 1


def test_threads_that_want_one_text_wait_for_one_run(encoders: Path) -> None:
    """Two tables asked at once in threads of their own cost one run, and both get it."""
    encoder, session = _counted(encoders)
    session.gate.clear()
    found: list[list[float]] = []
    threads = [
        threading.Thread(target=lambda: found.append(encoder.vector((5, 6, 7)).tolist())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    session.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(found) == 4
    assert all(each == found[0] for each in found)
    assert session.runs == 1


def test_a_run_that_fails_is_told_to_all_and_tried_again(encoders: Path) -> None:
    """An error is no result: the next reading of the same text runs anew."""
    encoder, session = _counted(encoders)
    inner = session._session

    class _Broken:
        def run(self, *_: Any) -> Any:
            raise RuntimeError("no memory")

    session._session = _Broken()
    with pytest.raises(ClassifierError, match=r"model\.onnx: cannot be run by onnxruntime: no memory"):
        encoder.vector((5, 6))
    session._session = inner
    assert encoder.vector((5, 6)).shape == (encoder.width,)


def test_a_window_longer_than_the_encoder_takes_is_refused(encoders: Path) -> None:
    """Positions that the model has not are no error of onnxruntime's, but said beforehand."""
    encoder, _ = _counted(encoders)
    with pytest.raises(ClassifierError, match=f"a window of {LONGEST + 1} tokens, at most {LONGEST}"):
        encoder.vector([5] * (LONGEST - 1))
    for window in (LONGEST + 1, 5):
        with pytest.raises(ClassifierError, match=f"window: got {window} tokens, expected"):
            _on(encoder, Schedule("sentences"), window=window)


# --- where a policy has it read ---------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["prompt", "user", "all"])
def test_a_prompt_is_read_whole(classifier: EncoderClassifier, scope: Any) -> None:
    """A prompt without a full stop is scored at its end, whatever the card's schedule."""
    found = placed(ClassifierSpec("mood", scope, use="mood"), classifier)
    state = found.start()
    state.push("I want my money back")
    assert list(state.scores()) == classifier.predict(["I want my money back"])[0].tolist()
    assert found.digest != classifier.digest


def test_a_generation_is_read_where_the_policy_says(classifier: EncoderClassifier) -> None:
    """``read`` goes before the card's schedule; without it the card's holds, and nothing changes."""
    assert placed(ClassifierSpec("mood", "generation", use="mood"), classifier) is classifier
    found = placed(ClassifierSpec("mood", "generation", use="mood", read="every 2"), classifier)
    state = found.start()
    seen: list[Sequence[float]] = []
    for word in ("I ", "want ", "my ", "money "):
        state.push(word)
        seen.append(list(state.scores()))
    assert seen[0] == [0.0] * 3
    assert seen[1] == seen[2] == classifier.predict(["I want "])[0].tolist()
    assert seen[3] == classifier.predict(["I want my money "])[0].tolist()


# --- deadlines ----------------------------------------------------------------------------------------


def test_a_step_waits_no_longer_than_its_deadline(encoders: Path) -> None:
    """While the encoder runs, the scores before stand; they are picked up once they are there."""
    encoder, session = _counted(encoders)
    scored = _on(encoder, Schedule("sentences"))
    expected = scored.predict(["I want my money back. "])[0].tolist()
    session.runs = 0
    encoder._forget()
    session.gate.clear()
    behind = with_deadline(scored, 5)
    try:
        state = behind.start()
        state.push("I want my money back. ")
        assert list(state.scores()) == [0.0]
        assert state.late
        session.gate.set()
        for _ in range(1000):
            if list(state.scores()) == expected:
                break
            time.sleep(0.005)
        assert list(state.scores()) == expected
        assert not state.late
    finally:
        session.gate.set()
        behind.close()


def test_text_waits_on_this_side_of_a_deadline(encoders: Path) -> None:
    """No thread is asked at steps at which nothing is due, and what is read is the same as without."""
    encoder, session = _counted(encoders)
    scored = _on(encoder, Schedule("sentences", opening=True))
    plain, behind = scored.start(), with_deadline(scored, 60_000)
    try:
        state = behind.start()
        for piece in ("a prompt", " I", " want", " it.", " Now", "! ", "So"):
            plain.push(piece)
            state.push(piece)
            assert list(state.scores()) == list(plain.scores())
            assert not state.late
        twin = state.fork()
        twin.push(" far. ")
        plain.push(" far. ")
        assert list(twin.scores()) == list(plain.scores())
        submitted = session.runs
        state.push(" what")
        assert not state._busy
        assert session.runs == submitted
    finally:
        behind.close()


def test_a_late_thread_reads_a_prompt_as_a_prompt(encoders: Path) -> None:
    """Where all the threads are busy, what comes behind a prompt meanwhile is not taken for its end."""
    encoder, session = _counted(encoders)
    scored = _on(encoder, Schedule("sentences", opening=True))
    pieces = ("a prompt", " I", " want", " it.", " Now")
    plain = scored.start()
    for piece in pieces:
        plain.push(piece)
    expected = list(plain.scores())
    encoder._forget()
    behind = with_deadline(scored, 1, threads=1)
    try:
        session.gate.clear()
        first, state = behind.start(), behind.start()
        first.push("the end")
        first.scores()
        for piece in pieces:
            state.push(piece)
            state.scores()
        session.gate.set()
        for _ in range(1000):
            if list(state.scores()) == expected:
                break
            time.sleep(0.005)
        assert list(state.scores()) == expected
    finally:
        session.gate.set()
        behind.close()
