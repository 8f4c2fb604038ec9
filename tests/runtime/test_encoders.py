"""An encoder in a policy: the tokens of one that reads everything anew, however the model is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.assets import Catalog
from guardsteer.cases.running import read_classifiers
from guardsteer.classify.encoders.reading import EncoderClassifier
from guardsteer.classify.load import load_folder
from guardsteer.classify.placing import placed
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import ClassifierError, PolicyError
from guardsteer.rules import load_policy
from tests.classify.encoder_models import add_head, exported, make_model
from tests.runtime.harness import SPECIAL, Bench, batch, bench, policy_file

TOKENS = 20
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
POLICY = """
guardsteer: 1
name: meaning
classifiers:
  mood: {use: ./mood, on: all, read: every 1, encoder: ./encoders}
vectors:
  one: {use: ./none, positions: [last_prompt_token, generated]}
  two: {use: ./none, positions: [generated]}
rules:
  - {id: push, when: mood.score >= HIGH, add: {vector: one, strength: 0.8}}
  - {id: pull, when: mood.score < LOW, subtract: {vector: two, strength: 0.5}}
"""
WAYS: dict[str, dict[str, Any]] = {
    "cache": {},
    "no cache": {"use_cache": False},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
    "beams": {"num_beams": 3},
    "several": {"num_return_sequences": 2, "num_beams": 2},
}


class Anew:
    """Keeps the pieces, and reads them with a new state at every step."""

    def __init__(self, classifier: EncoderClassifier) -> None:
        self.classifier = classifier
        self.outputs = classifier.outputs
        self.digest = "b3:anew"

    def start(self) -> AnewState:
        return AnewState(self.classifier, ())


class AnewState:
    def __init__(self, classifier: EncoderClassifier, pieces: tuple[str, ...]) -> None:
        self.classifier = classifier
        self.pieces = pieces

    def push(self, text: str) -> None:
        self.pieces = (*self.pieces, text)

    def scores(self) -> Sequence[float]:
        state = self.classifier.start()
        # The prompt is a piece by itself; all that follows may come at once.
        state.push(self.pieces[0] if self.pieces else "")
        state.push("".join(self.pieces[1:]))
        return state.scores()

    def fork(self) -> AnewState:
        return AnewState(self.classifier, self.pieces)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier that names an encoder, and the encoder."""
    root = tmp_path_factory.mktemp("meaning")
    make_model(root / "model", kind="roberta")
    exported(root / "model", root / "encoders" / "small", pooling="mean")
    add_head(root / "mood", root / "encoders" / "small")
    return root


def classifier_of(folder: Path) -> EncoderClassifier:
    loaded = load_folder(folder / "mood", encoders=[folder / "encoders"])
    assert isinstance(loaded, EncoderClassifier)
    return placed(ClassifierSpec("mood", "all", use="mood", read="every 1"), loaded)


def policy_of(folder: Path, made: Bench, policy: str = POLICY) -> Path:
    """Write the policy with bounds between what its prompts score."""
    low, middle, high = sorted(
        classifier_of(folder).predict([made.tokenizer.decode(prompt) for prompt in PROMPTS])[:, 0]
    )
    text = policy.replace("HIGH", f"{(middle + high) / 2:.9f}").replace("LOW", f"{(low + middle) / 2:.9f}")
    return policy_file(folder, text)


def run(made: Bench, path: Path, way: dict[str, Any], **more: Any) -> Any:
    vectors = {"one": made.vectors["one"], "two": made.vectors["two"]}
    alone = "prompt_lookup_num_tokens" in way
    with guardsteer.wrap(made.model, made.tokenizer, policy=path, vectors=vectors, **more) as guard:
        inputs = batch(PROMPTS[:1] if alone else PROMPTS)
        settings = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
        return guard.generate(**inputs, **{**settings, **way}).tolist()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_row_is_steered_as_if_all_were_read_anew(folder: Path, way: dict[str, Any]) -> None:
    """Beams, drafts and rows of a batch: each by the score of its own text up to the last due place."""
    made = bench("llama")
    path = policy_of(folder, made)
    found = run(made, path, way)
    path = policy_of(folder, made, POLICY.replace(", read: every 1", ""))
    expected = run(made, path, way, classifiers={"mood": Anew(classifier_of(folder))})
    assert found == expected
    bare = made.model.generate(
        **batch(PROMPTS), max_new_tokens=TOKENS, do_sample=False, suppress_tokens=list(SPECIAL)
    )
    assert found != bare.tolist(), "something was steered"


def test_a_row_is_steered_alone_as_in_a_batch(folder: Path) -> None:
    """What else is in the batch changes no token."""
    made = bench("llama")
    path = policy_of(folder, made)
    together = run(made, path, {})
    with guardsteer.wrap(
        made.model, made.tokenizer, policy=path, vectors={k: made.vectors[k] for k in ("one", "two")}
    ) as guard:
        for place, prompt in enumerate(PROMPTS):
            alone = guard.generate(
                **batch([prompt]), max_new_tokens=TOKENS, do_sample=False, suppress_tokens=list(SPECIAL)
            )
            assert alone[0, len(prompt) :].tolist() == together[place][-TOKENS:]


def test_a_deadline_that_is_kept_changes_nothing(folder: Path) -> None:
    """In a thread, with time enough, every step has the score that it has without one."""
    made = bench("llama")
    path = policy_of(folder, made)
    expected = run(made, path, {})
    late = POLICY.replace("read: every 1", "read: every 1, deadline_ms: 60000")
    assert run(made, policy_of(folder, made, late), {}) == expected


def test_a_policy_says_where_it_reads(folder: Path) -> None:
    """The guard and the policy's own cases read with the same schedule, from the same folder."""
    made = bench("llama")
    path = policy_of(folder, made)
    policy = load_policy(path, outputs=lambda _: ("score",))
    found = read_classifiers(policy, Catalog())["mood"]
    assert isinstance(found, EncoderClassifier)
    assert str(found.schedule) == "every 1"
    assert found.schedule.opening
    assert found.digest == classifier_of(folder).digest


def test_reading_by_a_schedule_is_for_classifiers_that_have_one(folder: Path) -> None:
    """``read`` of a classifier that follows every token is a mistake, and so are the wrong scopes."""
    made = bench("llama")
    text = "guardsteer: 1\nname: p\nclassifiers:\n  mood: {use: ./mood, on: ON, read: READ}\n"
    path = policy_file(folder, text.replace("ON", "generation").replace("READ", "every 4"))
    plain: Any = Anew(classifier_of(folder))
    with pytest.raises(ClassifierError, match=r"'mood': 'read' says when a slow classifier reads.*remove it"):
        guardsteer.wrap(made.model, made.tokenizer, policy=path, classifiers={"mood": plain})
    for scope, read, told in (
        ("prompt", "sentences", "says where a generation is read"),
        ("user", "every 3", "says where a generation is read"),
        ("generation", "prompt", "has no prompt"),
        ("all", "every 0", "read"),
        ("all", "sometimes", "read"),
    ):
        path = policy_file(folder, text.replace("ON", scope).replace("READ", read))
        with pytest.raises(PolicyError, match=told):
            load_policy(path, outputs=lambda _: ("score",))


def test_patterns_have_no_schedule(folder: Path) -> None:
    """``read`` and ``encoder`` belong to classifiers that are named."""
    text = "guardsteer: 1\nname: p\nclassifiers:\n  swear: {literals: [damn], on: all, KEY: VALUE}\n"
    for key, value in (("read", "sentences"), ("encoder", "./encoders")):
        path = policy_file(folder, text.replace("KEY", key).replace("VALUE", value))
        with pytest.raises(PolicyError, match=f"'{key}' is for a classifier that reads with an encoder"):
            load_policy(path)
