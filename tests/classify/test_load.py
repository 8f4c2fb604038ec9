"""Folders load as what a policy asks for, and a damaged one is refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from guardsteer.assets import Catalog
from guardsteer.classify import (
    LinearClassifier,
    PatternClassifier,
    Probe,
    load_classifier,
    load_folder,
    outputs_of,
)
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import AssetError, ClassifierError
from tests.classify.folders import (
    edit_card,
    edit_tensors,
    linear_folder,
    patterns_folder,
    probe_folder,
    redigest,
)


def test_each_kind_loads_by_path_and_by_name(tmp_path: Path) -> None:
    linear_folder(tmp_path / "classifiers" / "mood")
    patterns_folder(tmp_path / "classifiers" / "swearing")
    probe_folder(tmp_path / "classifiers" / "state")
    catalog = Catalog([tmp_path])
    kinds = {"mood": LinearClassifier, "swearing": PatternClassifier, "state": Probe}
    expected = {"mood": ("calm", "angry", "asking"), "swearing": ("match",), "state": ("harm", "joy")}
    for name, kind in kinds.items():
        for use in (name, f"./classifiers/{name}", f"./classifiers/{name}/classifier.json"):
            spec = ClassifierSpec("any", "all", use=use)
            loaded = load_classifier(spec, tmp_path, catalog)
            assert isinstance(loaded, kind)
            assert loaded.outputs == outputs_of(spec, tmp_path, catalog) == expected[name]


def test_patterns_written_in_the_policy_need_no_folder(tmp_path: Path) -> None:
    spec = ClassifierSpec("swear", "all", literals=("Damn",), patterns=(r"\bugh+\b",))
    loaded = load_classifier(spec, tmp_path, Catalog())
    assert isinstance(loaded, PatternClassifier)
    assert outputs_of(spec, tmp_path, Catalog()) == ("match",)
    state = loaded.start()
    state.push("well, DAMN")
    assert state.scores() == (1.0,)
    with pytest.raises(ClassifierError, match=r"classifier swear: .*'\('"):
        load_classifier(ClassifierSpec("swear", "all", patterns=("(",)), tmp_path, Catalog())


def test_outputs_come_from_the_card_alone(tmp_path: Path) -> None:
    folder = linear_folder(tmp_path / "mood")
    for name in ("weights.safetensors", "vocabulary.json", "model.onnx"):
        (folder / name).unlink()
    spec = ClassifierSpec("mood", "all", use="./mood")
    assert outputs_of(spec, tmp_path, Catalog()) == ("calm", "angry", "asking")


def test_a_missing_folder_is_an_asset_error(tmp_path: Path) -> None:
    with pytest.raises(AssetError):
        load_classifier(ClassifierSpec("mood", "all", use="./nowhere"), tmp_path, Catalog())


def test_the_digest_follows_what_decides_the_scores(tmp_path: Path) -> None:
    folder = linear_folder(tmp_path / "mood")
    before = load_folder(folder).digest
    edit_card(folder, lambda card: card.update(description="said better"))
    assert load_folder(folder).digest == before
    edit_card(folder, lambda card: card.update(outputs=["calm", "angry", "curious"]))
    assert load_folder(folder).digest != before


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = linear_folder(tmp_path / "a" / "mood"), linear_folder(tmp_path / "b" / "mood")
    names = sorted(path.name for path in one.iterdir())
    assert names == ["classifier.json", "model.onnx", "vocabulary.json", "weights.safetensors"]
    assert [(one / name).read_bytes() for name in names] == [(other / name).read_bytes() for name in names]


def test_the_graph_runs_by_itself_for_any_onnx_tool(tmp_path: Path) -> None:
    import onnxruntime

    folder = linear_folder(tmp_path / "mood")
    onnx.checker.check_model(folder / "model.onnx")
    loaded = load_folder(folder)
    assert isinstance(loaded, LinearClassifier)
    indices, values = loaded.vectorizer.transform("money back, kindly")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    found = session.run(None, {"indices": np.array([indices]), "values": np.array([values])})[0]
    np.testing.assert_allclose(found, loaded.predict(["money back, kindly"]))


Damage = Callable[[Path], Any]


def _set(path: str, value: object) -> Damage:
    def change(card: dict[str, Any]) -> None:
        *above, last = path.split(".")
        for part in above:
            card = card[part]
        card[last] = value

    return lambda folder: edit_card(folder, change)


def _remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def _flip(name: str) -> Damage:
    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return damage


def _terms(change: Callable[[list[Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "vocabulary.json"
        terms = json.loads(path.read_text())
        change(terms)
        path.write_text(json.dumps(terms))
        redigest(folder)

    return damage


def _text(name: str, text: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_text(text)
        if name != "classifier.json":
            redigest(folder)

    return damage


def _tensor(name: str, change: Callable[[Any], Any]) -> Damage:
    return lambda folder: edit_tensors(folder, lambda tensors: {**tensors, name: change(tensors[name])})


def _nan(array: Any) -> Any:
    array = array.copy()
    array.flat[0] = np.nan
    return array


DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "weights flipped": (_flip("weights.safetensors"), "weights.safetensors", "digest"),
    "vocabulary flipped": (_flip("vocabulary.json"), "vocabulary.json", "digest"),
    "graph flipped": (_flip("model.onnx"), "model.onnx", "digest"),
    "weights missing": (
        lambda f: (f / "weights.safetensors").unlink(),
        "weights.safetensors",
        "cannot be read",
    ),
    "graph missing": (_remove("model.onnx"), "model.onnx", "cannot be read"),
    "card missing": (_remove("classifier.json"), "classifier.json", "cannot be read"),
    "card is no JSON": (_text("classifier.json", "{"), "classifier.json", "not valid JSON"),
    "card is a list": (_text("classifier.json", "[]"), "classifier.json", "dict"),
    "card is deep": (_text("classifier.json", "[" * 100_000), "classifier.json", "not valid JSON"),
    "key twice": (
        _text("classifier.json", '{"kind": "linear", "kind": "probe"}'),
        "classifier.json",
        "twice",
    ),
    "NaN in the card": (_text("classifier.json", '{"kind": NaN}'), "classifier.json", "NaN"),
    "unknown kind": (_set("kind", "magic"), "classifier.json", "magic"),
    "unknown field": (_set("trust", "me"), "classifier.json", "trust"),
    "later format": (_set("format", 2), "classifier.json", "format"),
    "a number for a name": (_set("name", 3), "classifier.json", "name"),
    "a path for a file": (_set("files./etc/passwd", "b3:" + "0" * 64), "classifier.json", "files"),
    "an output too many": (_set("outputs", ["a", "b", "c", "d"]), "weights.safetensors", "shape"),
    "outputs alike": (_set("outputs", ["a", "b", "a"]), "classifier.json", "same name"),
    "an output no policy can name": (_set("outputs", ["a", "b", "c d"]), "classifier.json", "outputs.2"),
    "another activation": (_set("activation", "relu"), "classifier.json", "activation"),
    "n-grams upside down": (_set("vectorizer.ngrams", [3, 2]), "classifier.json", "ngrams"),
    "too many features": (_set("vectorizer.features", 2**40), "classifier.json", "features"),
    "hashed with idf": (_set("vectorizer.type", "hashing"), "classifier.json", "hashing"),
    "a term twice": (_terms(lambda terms: terms.__setitem__(1, terms[0])), "vocabulary.json", "distinct"),
    "a term too few": (_terms(lambda terms: terms.pop()), "vocabulary.json", "expected"),
    "a term that is a number": (_terms(lambda terms: terms.__setitem__(0, 1)), "vocabulary.json", "list"),
    "terms in an object": (_text("vocabulary.json", "{}"), "vocabulary.json", "list"),
    "a weight not finite": (_tensor("weight", _nan), "weights.safetensors", "not finite"),
    "a huge weight": (_tensor("weight", lambda w: w * 0 + 1e30), "weights.safetensors", "above"),
    "an idf not finite": (_tensor("idf", _nan), "weights.safetensors", "idf"),
    "a bias too short": (_tensor("bias", lambda bias: bias[:2].copy()), "weights.safetensors", "bias"),
    "weights of whole numbers": (
        _tensor("weight", lambda w: w.astype(np.int32)),
        "weights.safetensors",
        "int32",
    ),
    "a tensor too many": (
        lambda f: edit_tensors(f, lambda t: {**t, "more": np.zeros(1)}),
        "weights.safetensors",
        "more",
    ),
    "no safetensors": (_text("weights.safetensors", "nothing"), "weights.safetensors", "safetensors"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused_by_file_and_reason(tmp_path: Path, name: str) -> None:
    damage, file, reason = DAMAGES[name]
    folder = linear_folder(tmp_path / "mood")
    damage(folder)
    with pytest.raises(ClassifierError) as caught:
        load_folder(folder)
    assert file in str(caught.value)
    assert reason in str(caught.value)


def test_all_mistakes_of_a_card_are_told_at_once(tmp_path: Path) -> None:
    folder = linear_folder(tmp_path / "mood")
    edit_card(folder, lambda card: card.update(name="", activation="x", outputs=[], more=1))
    with pytest.raises(ClassifierError) as caught:
        load_folder(folder)
    assert len(caught.value.problems) == 4


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    folder = linear_folder(tmp_path / "mood")
    other = linear_folder(tmp_path / "other", classes=2)
    assert (folder / "model.onnx").read_bytes() != (other / "model.onnx").read_bytes()
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.op_type = "LogSoftmax"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    redigest(folder)
    loaded = load_folder(folder)
    assert isinstance(loaded, LinearClassifier)
    with pytest.raises(ClassifierError, match=r"model\.onnx.*does not compute"):
        loaded.predict(["money"])
    (folder / "model.onnx").write_bytes(b"no graph")
    redigest(folder)
    loaded = load_folder(folder)
    assert isinstance(loaded, LinearClassifier)
    with pytest.raises(ClassifierError, match=r"model\.onnx.*cannot be loaded"):
        loaded.predict(["money"])


def test_streaming_loads_neither_torch_nor_onnxruntime_nor_scikit_learn(tmp_path: Path) -> None:
    folder = linear_folder(tmp_path / "mood", hashing=True)
    code = (
        "import sys, pathlib, guardsteer.classify as c\n"
        f"s = c.load_folder(pathlib.Path({str(folder)!r})).start(); s.push('money'); s.scores()\n"
        "bad = {'torch', 'onnxruntime', 'onnx', 'sklearn', 'scipy', 'transformers'} & set(sys.modules)\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    folder = linear_folder(tmp_path / "mood")
    for name in ("weights.safetensors", "classifier.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(ClassifierError, match=rf"{name}.*no such file"):
            load_folder(folder)
