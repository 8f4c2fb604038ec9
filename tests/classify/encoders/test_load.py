"""Finding and loading encoders: by identity, from where a machine has them, with every file checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from guardsteer.assets import Catalog
from guardsteer.classify.combined.files import Member, write_combination
from guardsteer.classify.encoders.encoder import open_encoder
from guardsteer.classify.encoders.files import ENCODER_FILE, GRAPH_FILE, TOKENIZER_FILE, read_manifest
from guardsteer.classify.encoders.load import ENVIRONMENT
from guardsteer.classify.encoders.reading import EncoderClassifier
from guardsteer.classify.files.card import CARD_FILE, EncoderCard, read_card
from guardsteer.classify.files.graph import WEIGHTS_FILE
from guardsteer.classify.load import load_classifier, load_folder, outputs_of
from guardsteer.core.digests import digest_file
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import ClassifierError
from tests.classify.encoder_models import WIDTH, add_head, exported, make_model


@pytest.fixture
def here(encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of assets with a copy of an encoder and a classifier on it, and no other place to look."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.delenv("GUARDSTEER_ASSETS", raising=False)
    shutil.copytree(encoders / "encoders" / "bert", tmp_path / "far" / "bert")
    add_head(tmp_path / "classifiers" / "mood", tmp_path / "far" / "bert", outputs=("calm", "angry"))
    return tmp_path


def _edit(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **changes}))


def _load(here: Path) -> EncoderClassifier:
    loaded = load_folder(here / "classifiers" / "mood", encoders=[here / "far"])
    assert isinstance(loaded, EncoderClassifier)
    return loaded


# --- where it lies -----------------------------------------------------------------------------------


def test_an_encoder_is_found_wherever_one_may_be(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own folder or the one above, given, in the environment, by the policy, or among the assets."""
    folder = here / "classifiers" / "mood"
    expected = _load(here).predict(["money back"]).tolist()
    assert load_folder(folder, encoders=[here / "far" / "bert"]).outputs == ("calm", "angry")
    spec = ClassifierSpec("mood", "prompt", use="./classifiers/mood", encoder="./far")
    loaded = load_classifier(spec, here, Catalog())
    assert isinstance(loaded, EncoderClassifier)
    assert loaded.predict(["money back"]).tolist() == expected
    monkeypatch.setenv(ENVIRONMENT, f"{here / 'nowhere'}:{here / 'far'}")
    assert load_folder(folder).outputs == ("calm", "angry")
    monkeypatch.delenv(ENVIRONMENT)
    (here / "far").rename(here / "encoders")
    named = ClassifierSpec("mood", "prompt", use="mood")
    assert load_classifier(named, here, Catalog([here])).outputs == ("calm", "angry")
    assert outputs_of(named, here, Catalog([here])) == ("calm", "angry")


def test_an_encoder_that_is_nowhere_is_asked_for(here: Path) -> None:
    """The error names it, says where was looked and how to get it; the outputs are known without it."""
    folder = here / "classifiers" / "mood"
    with pytest.raises(ClassifierError) as caught:
        load_folder(folder)
    told = str(caught.value)
    for part in (
        f"{folder / CARD_FILE}: reads with the encoder bert (float32, b3:",
        f"looked in {folder}",
        "guardsteer classifiers export MODEL --out DIR",
        ENVIRONMENT,
    ):
        assert part in told
    assert outputs_of(ClassifierSpec("mood", "all", use="./mood"), folder.parent, Catalog()) == (
        "calm",
        "angry",
    )


def test_another_encoder_of_the_name_is_not_taken(here: Path) -> None:
    """Other weights, or int8 where the table was trained on float32, would give other scores."""
    make_model(here / "model", seed=5)
    exported(here / "model", here / "other" / "bert", name="bert")
    exported(here / "model", here / "other" / "int8", name="bert", int8=True, force=True)
    with pytest.raises(ClassifierError) as caught:
        load_folder(here / "classifiers" / "mood", encoders=[here / "other"])
    told = str(caught.value)
    assert f"{here / 'other' / 'bert'} holds another encoder of that name (b3:" in told
    assert "in int8, and the scores were trained on float32" in told


def test_another_export_of_the_same_model_is_taken(encoders: Path, here: Path) -> None:
    """Identity is of what is computed: a graph with tensors apart, of another name, gives the same scores."""
    exported(encoders / "models" / "bert", here / "again" / "x", largest_bytes=10_000, licence="MIT")
    found = load_folder(here / "classifiers" / "mood", encoders=[here / "again"])
    assert isinstance(found, EncoderClassifier)
    assert found.encoder is not _load(here).encoder
    assert np.abs(found.predict(["money"]) - _load(here).predict(["money"])).max() < 1e-6
    assert found.digest == _load(here).digest


def test_a_combination_may_read_with_an_encoder(here: Path) -> None:
    """A member's encoder is looked for where the combination's is."""
    mood = _load(here)
    members = [Member("mood", mood), Member("mood", mood, first_words=2)]
    write_combination(
        here / "classifiers" / "both", members, by="mean", outputs=mood.outputs, about={"name": "both"}
    )
    with pytest.raises(ClassifierError, match="reads with the encoder bert"):
        load_folder(here / "classifiers" / "both", Catalog([here]))
    spec = ClassifierSpec("both", "prompt", use="both", encoder="./far")
    state = load_classifier(spec, here, Catalog([here])).start()  # type: ignore[union-attr]  # reads text
    state.push("I want my money")
    expected = mood.predict(["I want my money", "I want "]).mean(axis=0)
    assert list(state.scores()) == pytest.approx(expected.tolist())


# --- what is wrong with it ---------------------------------------------------------------------------


def _garbage(name: str) -> Callable[[Path], None]:
    def change(encoder: Path) -> None:
        (encoder / name).write_bytes(b"garbage")
        manifest = json.loads((encoder / ENCODER_FILE).read_text())
        manifest["files"][name] = digest_file(encoder / name)
        (encoder / ENCODER_FILE).write_text(json.dumps(manifest))

    return change


def _flip(name: str) -> Callable[[Path], None]:
    def change(encoder: Path) -> None:
        data = bytearray((encoder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (encoder / name).write_bytes(data)

    return change


def _remove(name: str) -> Callable[[Path], None]:
    return lambda encoder: (encoder / name).unlink()


def _other_graph(inputs: tuple[str, ...], width: int) -> Callable[[Path], None]:
    def change(encoder: Path) -> None:
        nodes = [
            helper.make_node("ReduceSum", ["input_ids"], ["sum"], keepdims=1),
            helper.make_node("Cast", ["sum"], ["cast"], to=TensorProto.FLOAT),
            helper.make_node("Expand", ["cast", "shape"], ["numbers"]),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["row", "token"]) for name in inputs],
            [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, None)],
            [helper.make_tensor("shape", TensorProto.INT64, [2], [1, width])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, str(encoder / GRAPH_FILE))
        manifest = json.loads((encoder / ENCODER_FILE).read_text())
        manifest["files"][GRAPH_FILE] = digest_file(encoder / GRAPH_FILE)
        (encoder / ENCODER_FILE).write_text(json.dumps(manifest))

    return change


def _manifest(**changes: Any) -> Callable[[Path], None]:
    return lambda encoder: _edit(encoder / ENCODER_FILE, **changes)


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (_remove(TOKENIZER_FILE), r"tokenizer\.json: cannot be read: No such file.*export"),
    "no graph": (_remove(GRAPH_FILE), r"model\.onnx: cannot be read: No such file"),
    "a bit of the graph": (_flip(GRAPH_FILE), r"model\.onnx: is not the file that encoder\.json names"),
    "a bit of the tokenizer": (_flip(TOKENIZER_FILE), r"tokenizer\.json: is not the file"),
    "a graph that is none": (_garbage(GRAPH_FILE), r"model\.onnx: cannot be loaded by onnxruntime"),
    "a tokenizer that is none": (_garbage(TOKENIZER_FILE), r"tokenizer\.json: is not a tokenizer that"),
    "a narrower graph": (_other_graph(("input_ids",), 7), r"gave float32 numbers of the shape \[1, 7\]"),
    "another input": (_other_graph(("input_ids", "pixels"), WIDTH), r"takes \['input_ids', 'pixels'\]"),
    "no JSON": (lambda encoder: (encoder / ENCODER_FILE).write_text("{"), r"encoder\.json: cannot be read"),
    "an unknown field": (_manifest(colour="red"), r"encoder\.json: colour: Extra inputs"),
    "a strange width": (_manifest(width="wide"), "width: Input should be a valid integer"),
    "labels of an embedding": (_manifest(labels=["a"]), "an embedding has no labels"),
    "logits without labels": (_manifest(gives="logits"), "logits need as many labels"),
    "a file too few": (_manifest(files={}), "files must name model.onnx and tokenizer.json"),
    "int8 unmeasured": (_manifest(precision="int8"), "int8 must be there if and only if"),
    "no room": (_manifest(max_tokens=2), "max_tokens: Input should be greater than or equal to 8"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_wrong_with_an_encoder_is_told_with_its_file(here: Path, case: str) -> None:
    """Missing, damaged, or not what the manifest says: a typed error before the first score."""
    change, message = DAMAGED[case]
    change(here / "far" / "bert")
    with pytest.raises(ClassifierError, match=message):
        open_encoder(here / "far" / "bert")


def test_a_folder_without_an_encoder_says_how_to_make_one(tmp_path: Path) -> None:
    """The manifest is what makes a folder an encoder."""
    with pytest.raises(
        ClassifierError, match=r"encoder\.json: .*no such file.*guardsteer classifiers export"
    ):
        read_manifest(tmp_path)


def test_a_damaged_encoder_of_the_identity_is_not_passed_over(here: Path) -> None:
    """It is the one that the card names, so its damage is the error, not its absence."""
    _flip(GRAPH_FILE)(here / "far" / "bert")
    with pytest.raises(ClassifierError, match="is not the file that"):
        _load(here)


# --- what is wrong with the classifier -----------------------------------------------------------------


def _card(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / CARD_FILE, **changes)


def _table(shape: tuple[int, int], value: float = 1.0) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors: dict[str, Any] = {"weight": np.full(shape, value, np.float32), "bias": np.zeros(shape[1])}
        save_file(tensors, folder / WEIGHTS_FILE)
        _edit(folder / CARD_FILE, files={WEIGHTS_FILE: digest_file(folder / WEIGHTS_FILE)})

    return change


def _ref(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        card = json.loads((folder / CARD_FILE).read_text())
        _edit(folder / CARD_FILE, encoder={**card["encoder"], **changes})

    return change


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "a wide table": (
        _table((WIDTH + 1, 2)),
        rf"weight has the shape \[{WIDTH + 1}, 2\], expected \[{WIDTH}, 2\]",
    ),
    "a table of one output": (_table((WIDTH, 1)), r"expected \[32, 2\]"),
    "not finite": (_table((WIDTH, 2), float("nan")), "a value that is not finite"),
    "another table": (_flip(WEIGHTS_FILE), r"weights\.safetensors: is not the file that the card names"),
    "no table": (_remove(WEIGHTS_FILE), r"weights\.safetensors: cannot be read"),
    "no table on the card": (_card(files={}), "without files the outputs are the encoder's own"),
    "another width": (_ref(width=9), "names a width of 9, the encoder .* has 32"),
    "another identity": (_ref(identity="b3:" + "0" * 64), "which is not here"),
    "a long window": (_card(window=65), "window: got 65 tokens, expected 6 to 64"),
    "a strange schedule": (_card(read="now and then"), "read: String should match"),
    "a strange rule": (_card(over="sum"), "over: Input should be 'max' or 'mean'"),
    "an unknown field": (_card(colour="red"), "colour: Extra inputs"),
    "sigmoid for one": (_card(outputs=["score"], activation="softmax"), "needs the activation sigmoid"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_the_classifier_is_told(here: Path, case: str) -> None:
    """Tables and cards that do not fit the encoder are refused with their file."""
    change, message = WRONG[case]
    change(here / "classifiers" / "mood")
    with pytest.raises(ClassifierError, match=message):
        _load(here)


def test_an_embedding_without_a_table_gives_no_scores(here: Path) -> None:
    """A card that takes the encoder's own head, of an encoder that has none."""
    folder = here / "classifiers" / "mood"
    _edit(folder / CARD_FILE, files={}, outputs=[f"o{place}" for place in range(WIDTH)])
    with pytest.raises(ClassifierError, match="has no table of weights, and its encoder gives an embedding"):
        _load(here)


def test_the_digest_is_of_all_that_decides_scores(here: Path) -> None:
    """Figures and names on the card decide nothing; window, table and rule do."""
    before = _load(here).digest
    folder = here / "classifiers" / "mood"
    _edit(folder / CARD_FILE, description="other", licence="MIT")
    assert _load(here).digest == before
    found = {before}
    for change in (_card(window=32), _card(over="mean"), _table((WIDTH, 2))):
        change(folder)
        found.add(_load(here).digest)
    assert len(found) == 4


def test_a_card_reads_back_as_it_was_written(here: Path) -> None:
    """The card names the encoder by name, identity, width and precision."""
    card = read_card(here / "classifiers" / "mood")
    manifest = read_manifest(here / "far" / "bert")
    assert isinstance(card, EncoderCard)
    assert card.encoder.identity == manifest.identity
    assert (card.encoder.name, card.encoder.width, card.encoder.precision) == ("bert", WIDTH, "float32")
    assert (card.window, card.over, card.read) == (manifest.max_tokens, "max", "sentences")
