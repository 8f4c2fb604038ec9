"""Exporting: what comes out is held against torch, and what cannot be exported says why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from guardsteer.classify.encoders.encoder import open_encoder
from guardsteer.classify.encoders.files import ENCODER_FILE, EXTERNAL_FILE, GRAPH_FILE, TOKENIZER_FILE
from guardsteer.classify.encoders.reading import EncoderClassifier
from guardsteer.classify.load import load_folder
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.encoders import graphs, loading
from guardsteer.lab.classifiers.encoders.model_files import find_model
from tests.classify.encoder_models import TEXTS, WIDTH, exported, make_model, theirs

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {},
    "distilbert": {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "electra": {"embedding_size": WIDTH},
    "mpnet": {},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "modernbert": {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_model(tmp_path / "model")
    return tmp_path / "model"


# --- encoders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_many_kinds_of_encoders_are_exported(tmp_path: Path, kind: str) -> None:
    """The graph gives torch's numbers for any number of rows and tokens, and texts their embedding."""
    make_model(tmp_path / kind, kind=kind, **ARCHITECTURES[kind])
    made = exported(tmp_path / kind, tmp_path / "out")
    assert made.manifest.torch_difference < 1e-5
    encoder = open_encoder(tmp_path / "out")
    for text in TEXTS:
        found = encoder.vector(encoder.tokens(text)[0])
        assert np.abs(found - theirs(tmp_path / kind, text)).max() < 1e-5


@pytest.mark.parametrize(("pooling", "unit_length"), [("mean", False), ("cls", True), ("cls", False)])
def test_pooling_and_length_are_as_said(model: Path, tmp_path: Path, pooling: Any, unit_length: bool) -> None:
    """The first token or the mean, as they are or scaled to length 1."""
    made = exported(model, tmp_path / "out", pooling=pooling, unit_length=unit_length)
    assert (made.manifest.pooling, made.manifest.unit_length) == (pooling, unit_length)
    encoder = open_encoder(tmp_path / "out")
    expected = theirs(model, "want it", pooling=pooling, unit_length=unit_length)
    assert np.abs(encoder.vector(encoder.tokens("want it")[0]) - expected).max() < 1e-5


def test_files_of_sentence_transformers_are_followed(model: Path, tmp_path: Path) -> None:
    """modules.json says how to pool and whether to scale, sentence_bert_config.json how long texts may be."""
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in ("Transformer", "Pooling")
    ]
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "Pooling").mkdir()
    (model / "Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true, "width": 3}')
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 40}')
    made = exported(model, tmp_path / "out", pooling=None).manifest
    assert (made.pooling, made.unit_length, made.max_tokens) == ("cls", False, 40)


def test_the_same_model_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """Exported twice, every file is the same; another model's identity is another."""
    for name in ("one", "two"):
        exported(model, tmp_path / name, name="same", int8=True, force=True)
    for name in (ENCODER_FILE, GRAPH_FILE, TOKENIZER_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    make_model(tmp_path / "other", seed=1)
    one, other = (
        exported(each, tmp_path / "out", name="same").manifest for each in (model, tmp_path / "other")
    )
    assert one.identity != other.identity


def test_identity_is_of_what_is_computed(model: Path, tmp_path: Path) -> None:
    """Name, licence and the exporting program change no identity; pooling, length and precision do."""
    first = exported(model, tmp_path / "a", licence="MIT", source="here").manifest
    assert exported(model, tmp_path / "b", max_tokens=48).manifest.identity == first.identity
    others = ({"pooling": "cls"}, {"unit_length": False}, {"int8": True, "force": True})
    found = {exported(model, tmp_path / "c", **each).manifest.identity for each in others}
    assert len(found | {first.identity}) == 4


def test_large_tensors_go_into_a_second_file(model: Path, tmp_path: Path) -> None:
    """A graph of more than a protocol buffer holds has its tensors beside it, named with their digest."""
    plain = exported(model, tmp_path / "plain")
    split = exported(model, tmp_path / "split", largest_bytes=10_000)
    assert EXTERNAL_FILE in split.manifest.files
    assert (tmp_path / "split" / EXTERNAL_FILE).stat().st_size > 10_000
    assert split.manifest.identity == plain.manifest.identity
    one, other = open_encoder(tmp_path / "plain"), open_encoder(tmp_path / "split")
    assert one.vector((5, 6, 7)).tolist() == other.vector((5, 6, 7)).tolist()
    quantised = exported(model, tmp_path / "both", int8=True, force=True, largest_bytes=10_000)
    assert EXTERNAL_FILE in quantised.manifest.files
    assert open_encoder(tmp_path / "both").vector((5, 6)).shape == (WIDTH,)
    exported(model, tmp_path / "split")
    assert not (tmp_path / "split" / EXTERNAL_FILE).exists()


# --- int8 --------------------------------------------------------------------------------------------


def test_int8_is_measured_and_smaller(model: Path, tmp_path: Path) -> None:
    """How near it comes is on the manifest, measured on the texts given."""
    full = exported(model, tmp_path / "float").manifest
    made = exported(model, tmp_path / "int8", int8=True, force=True).manifest
    assert full.int8 is None
    assert made.int8 is not None
    assert made.int8.texts == len(TEXTS) * 4
    one, other = open_encoder(tmp_path / "float"), open_encoder(tmp_path / "int8")
    near = [float(one.vector(ids) @ other.vector(ids)) for ids in (one.tokens(text)[0] for text in TEXTS)]
    assert made.int8.mean == pytest.approx(np.mean(near), abs=1e-6)
    assert made.int8.least == pytest.approx(min(near), abs=1e-6)
    graph = onnx.load(str(tmp_path / "int8" / GRAPH_FILE)).graph
    scales = [list(each.dims) for each in graph.initializer if each.name.endswith("_scale")]
    assert [WIDTH] in scales, "a scale for each channel"
    assert (tmp_path / "int8" / GRAPH_FILE).stat().st_size < (tmp_path / "float" / GRAPH_FILE).stat().st_size


@pytest.mark.parametrize(("least", "refused"), [(0.9999, True), (0.5, False)])
def test_int8_that_does_not_agree_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: float, refused: bool
) -> None:
    """Under the stated agreement nothing that loads is written, unless it is forced."""
    monkeypatch.setattr("guardsteer.lab.classifiers.encoders.export.MEAN_AGREEMENT", least)
    monkeypatch.setattr("guardsteer.lab.classifiers.encoders.export.LEAST_AGREEMENT", least)
    if not refused:
        assert exported(model, tmp_path / "out", int8=True).manifest.precision == "int8"
        return
    with pytest.raises(ClassifierError, match=r"int8 does not hold this model's quality.*cosine is"):
        exported(model, tmp_path / "out", int8=True)
    assert not (tmp_path / "out" / ENCODER_FILE).exists()
    assert exported(model, tmp_path / "out", int8=True, force=True).manifest.int8 is not None


# --- sequence classifiers ------------------------------------------------------------------------------


@pytest.mark.parametrize(("problem", "labels"), [(None, 3), ("multi_label_classification", 3), (None, 2)])
def test_any_sequence_classifier_scores_as_transformers(
    tmp_path: Path, problem: str | None, labels: int
) -> None:
    """Its own head and labels, softmax or sigmoid as its configuration says; the folder is a classifier."""
    names = ["not-hate", "HATE speech", "3rd"][:labels]
    model = make_model(tmp_path / "model", labels=names, problem_type=problem)
    made = exported(tmp_path / "model", tmp_path / "hate", licence="MIT")
    assert made.outputs == ("not_hate", "HATE_speech", "label_3rd")[:labels]
    found = load_folder(tmp_path / "hate")
    assert isinstance(found, EncoderClassifier)
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "model"))
    for text in TEXTS:
        given = tokenizer(text, return_tensors="pt", truncation=False, padding=False)
        with torch.no_grad():
            logits = model(**given).logits[0].double()
        expected = logits.sigmoid() if problem else logits.softmax(0)
        assert np.abs(found.predict([text])[0] - expected.numpy()).max() < 1e-5


def test_labels_can_be_named(tmp_path: Path) -> None:
    """Names given go before the model's own; too few, and two that become one, are told."""
    make_model(tmp_path / "model", labels=["a b", "a-b"])
    with pytest.raises(ClassifierError, match="make the outputs a_b, a_b: give distinct names with --labels"):
        exported(tmp_path / "model", tmp_path / "out")
    with pytest.raises(ClassifierError, match=r"--labels: got 1 \(one\), the model has 2"):
        exported(tmp_path / "model", tmp_path / "out", labels=["one"])
    assert exported(tmp_path / "model", tmp_path / "out", labels=["one", "two"]).outputs == ("one", "two")


def test_a_regression_is_no_probability(tmp_path: Path) -> None:
    """One number without a problem type is refused; who knows that it is a log-odds says so."""
    make_model(tmp_path / "model", labels=["score"])
    with pytest.raises(ClassifierError, match=r"a regression's and no probability.*--activation sigmoid"):
        exported(tmp_path / "model", tmp_path / "out")
    assert exported(tmp_path / "model", tmp_path / "out", activation="sigmoid").outputs == ("score",)
    assert 0 < load_folder(tmp_path / "out").predict(["it"])[0, 0] < 1  # type: ignore[union-attr]  # reads text


def test_a_classifier_without_its_head_is_refused(tmp_path: Path) -> None:
    """transformers would draw a missing head at random; this says which tensors are missing."""
    make_model(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ClassifierError, match=r"lacks the tensors .*classifier\.weight.*random numbers"):
        exported(tmp_path / "model", tmp_path / "out", pooling=None)


# --- what is refused -----------------------------------------------------------------------------------


def _without(name: str) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        (model / name).unlink()

    return change


def _pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _no_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()


def _few_words(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "vocab_size": 50}))


def _dense(model: Path) -> None:
    (model / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense", "path": ""}]')


def _max_pooling(model: Path) -> None:
    (model / "modules.json").write_text('[{"type": "x.Pooling", "path": "."}]')
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "pooling_mode_max_tokens": True}))


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no configuration": (_without("config.json"), r"config\.json: cannot be read: No such file"),
    "no weights": (_without("model.safetensors"), "holds no weights: expected model.safetensors"),
    "pickled weights": (_pickled, r"pytorch_model\.bin alone, which may run code.*save_pretrained"),
    "no tokenizer": (
        _no_tokenizer,
        r"tokenizer\.json: cannot be read: there is no such file.*must be beside it",
    ),
    "a larger tokenizer": (_few_words, r"tokenizer\.json: knows \d+ tokens, and the model 50"),
    "a dense module": (_dense, r"modules\.json: has the module Dense"),
    "pooling by maximum": (_max_pooling, "pools by pooling_mode_max_tokens; mean and cls"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_says_why(model: Path, tmp_path: Path, case: str) -> None:
    """A typed error with the file, and no folder that would load."""
    change, message = REFUSED[case]
    change(model)
    with pytest.raises(ClassifierError, match=message):
        exported(model, tmp_path / "out", pooling=None if case.endswith(("module", "maximum")) else "mean")
    assert not (tmp_path / "out" / ENCODER_FILE).exists()


def test_settings_that_do_not_fit_are_refused(model: Path, tmp_path: Path) -> None:
    """No pooling known, more tokens than there are positions, labels for what has none."""
    out = tmp_path / "out"
    with pytest.raises(ClassifierError, match="say --pooling mean or cls"):
        exported(model, out, pooling=None)
    for tokens in (65, 31):
        with pytest.raises(ClassifierError, match=f"--max-tokens: got {tokens}, expected 32 to 64"):
            exported(model, out, max_tokens=tokens)
    with pytest.raises(ClassifierError, match="holds no sequence classifier"):
        exported(model, out, labels=["a"])
    make_model(tmp_path / "classifier", labels=["a", "b"])
    with pytest.raises(ClassifierError, match=r"--pooling: .* holds a sequence classifier"):
        exported(tmp_path / "classifier", out, pooling="mean")


def test_a_tokenizer_that_transformers_would_not_use_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tokenizer.json must give the ids that the model is given elsewhere."""
    data = json.loads((model / "tokenizer.json").read_text())
    data["normalizer"] = None
    other = json.dumps(data).encode()
    monkeypatch.setattr(Path, "read_bytes", lambda path: other if path.name == "tokenizer.json" else b"")
    with pytest.raises(ClassifierError, match="gives other tokens than transformers does"):
        loading.tokenizer_bytes(model, 1000)


def test_a_graph_that_differs_from_torch_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace that forgot something is found out on random tokens before it counts."""
    write = graphs.write_graph

    def forgetful(module: Any, folder: Path, **settings: Any) -> None:
        module.unit_length = False
        write(module, folder, **settings)
        module.unit_length = True

    monkeypatch.setattr("guardsteer.lab.classifiers.encoders.export.write_graph", forgetful)
    with pytest.raises(ClassifierError, match=r"away from torch's, expected at most 0\.0001"):
        exported(model, tmp_path / "out")
    assert not (tmp_path / "out" / ENCODER_FILE).exists()


def test_an_operator_that_onnx_has_not_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter's error becomes one of ours, with the operator's name."""
    monkeypatch.setattr(
        loading.Exported,
        "forward",
        lambda _self, _ids, mask: torch.linalg.eigvals(mask.float() @ mask.T.float()).real,
    )
    with pytest.raises(ClassifierError, match=r"cannot be exported to ONNX.*eigvals"):
        exported(model, tmp_path / "out")


def test_onnxruntime_says_what_it_cannot_load(tmp_path: Path) -> None:
    """A graph with an unknown operator is refused with its file."""
    node = helper.make_node("Unheard", ["input_ids"], ["numbers"], domain="nowhere")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["row", "token"])],
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["row", 3])],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / GRAPH_FILE))
    with pytest.raises(ClassifierError, match=r"model\.onnx: cannot be loaded by onnxruntime"):
        graphs.open_graph(tmp_path)


def test_a_package_with_a_model_in_it_is_found(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, and without importing it; what is neither a folder nor a package is told."""
    package = tmp_path / "packages" / "packaged_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    model.rename(package / "model")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    assert find_model("packaged_model") == package / "model"
    for name in ("no_such_package_at_all", "json", str(tmp_path / "nowhere")):
        with pytest.raises(ClassifierError, match="no such folder, and no installed package"):
            find_model(name)


def test_the_command_exports_and_tells(model: Path, tmp_path: Path) -> None:
    """The whole way through the command line; mistakes end with status 2 and one line."""
    command = [
        sys.executable,
        "-m",
        "guardsteer",
        "classifiers",
        "export",
        str(model),
        "--out",
        str(tmp_path / "mini"),
    ]
    wrong = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("guardsteer: error: ")
    assert "say --pooling mean or cls" in wrong.stderr
    more = ["--pooling", "mean", "--int8", "--force", "--licence", "MIT", "--json"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["encoder"]["name"] == "mini"
    assert told["encoder"]["int8"]["texts"] > 100
    assert told["encoder"]["identity"] == open_encoder(tmp_path / "mini").manifest.identity


def test_the_exported_model_is_a_sequence_classifier_of_transformers(tmp_path: Path) -> None:
    """What the tests build is what ``AutoModelForSequenceClassification`` loads."""
    make_model(tmp_path / "model", labels=["a", "b"])
    loaded: Any = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "model"))
    assert loaded.config.id2label == {0: "a", 1: "b"}
