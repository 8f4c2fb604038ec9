"""Fitted scikit-learn pipelines, written as folders: features as guardsteer's own, the rest by skl2onnx."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guardsteer.classify.files.artifact import VOCABULARY_FILE, write_tensors, write_vocabulary
from guardsteer.classify.files.graph import MODEL_FILE, WEIGHTS_FILE
from guardsteer.classify.files.writing import write_folder
from guardsteer.classify.load import load_folder
from guardsteer.classify.pace.schedule import parse_schedule
from guardsteer.classify.pipeline import INPUT, OUTPUT, PipelineClassifier
from guardsteer.classify.words.vectorizer import VectorizerSettings
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example, check_examples, digest_examples, distinct
from guardsteer.lab.classifiers.fitting import (
    PARTS,
    About,
    Settings,
    Training,
    card_of,
    classes_of,
    figures,
    split_rows,
)
from guardsteer.lab.classifiers.readme import write_readme
from guardsteer.lab.classifiers.sklearn_models import vectorizer_settings

__all__ = ["named_pipeline", "train_pipeline", "write_pipeline"]

_TOLERANCE = 1e-4
_LEAST_EXAMPLES = 10
_OPSET = {"": 17, "ai.onnx.ml": 3}


def named_pipeline(name: str) -> Any:
    """Return the pipeline that ``MODULE:FUNCTION`` makes; the module is found from where one stands, too.

    Raises ``ClassifierError`` where there is no such function, or it makes no pipeline that can be fitted.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise ClassifierError(f"--pipeline {name!r}: expected MODULE:FUNCTION, a function without arguments")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        make: Callable[[], Any] = getattr(importlib.import_module(module), function)
        made = make()
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise ClassifierError(f"--pipeline {name!r}: cannot make the pipeline: {told}") from error
    finally:
        sys.path.remove(here)
    if not hasattr(made, "fit") or not hasattr(made, "steps"):
        raise ClassifierError(
            f"--pipeline {name!r}: made a {type(made).__name__}, expected a scikit-learn Pipeline"
        )
    return made


def train_pipeline(
    examples: Sequence[Example], pipeline: Any, settings: Settings, about: About, out: Path, *, read: str
) -> Training:
    """Fit ``pipeline`` to the training rows of labelled texts and write the classifier's folder ``out``.

    Of ``settings`` the split, the seed and the positive label count. Figures are those of the written
    classifier on the test rows. Raises ``ClassifierError`` where the pipeline cannot be written.
    """
    parse_schedule(read)
    kept = distinct(examples)
    check_examples(kept, least=_LEAST_EXAMPLES)
    classes, outputs = classes_of(kept, settings.positive)
    rows, numbers = split_rows(kept, classes, settings)
    texts = {part: [kept[row].text for row in rows[part]] for part in PARTS}
    pipeline.fit(texts["train"], numbers[rows["train"]])
    told = {"pipeline": " > ".join(type(step).__name__ for _, step in pipeline.steps), "seed": settings.seed}
    card = card_of(about, digest=digest_examples(kept), rows=rows, training=told)
    shown = [text for part in PARTS for text in texts[part]]
    write_pipeline(out, pipeline, outputs, card, texts=shown, read=read)
    written = load_folder(out)
    if not isinstance(written, PipelineClassifier):
        raise ClassifierError(f"{out}: holds another kind of classifier than was written")
    tune, test = ((numbers[rows[part]], written.predict(texts[part])) for part in ("tune", "test"))
    metrics, points = figures(outputs, tune, test, settings.seed)
    full = {**card, "metrics": metrics, "operating_points": points}
    write_pipeline(out, pipeline, outputs, full, texts=shown, read=read)
    write_readme(out)
    return Training(out, metrics, points, 0.0)


def write_pipeline(
    out: Path,
    pipeline: Any,
    outputs: Sequence[str],
    about: dict[str, Any],
    *,
    texts: Sequence[str],
    read: str,
) -> None:
    """Write a fitted pipeline's folder, and hold it to the pipeline on ``texts``.

    Its first step is a ``TfidfVectorizer`` or ``HashingVectorizer``, the others whatever skl2onnx converts
    that ends in probabilities. ``outputs``: one name for two classes (the probability of the second), else
    one for each. Raises ``ClassifierError`` where that is not so, or scores differ by more than 1e-4.
    """
    steps = [step for _, step in pipeline.steps]
    if len(steps) < 2 or not hasattr(pipeline, "predict_proba"):
        raise ClassifierError("expected a pipeline of a vectorizer and more, which ends in predict_proba")
    classes = len(pipeline.classes_)
    if classes != (2 if len(outputs) == 1 else len(outputs)):
        raise ClassifierError(
            f"the pipeline tells {classes} classes apart, {len(outputs)} outputs were named"
        )
    settings = vectorizer_settings(steps[0], _features(steps[0]))
    files = {MODEL_FILE: _converted(pipeline, settings)}
    if settings.type == "tfidf":
        files[VOCABULARY_FILE] = write_vocabulary(
            {term: int(index) for term, index in steps[0].vocabulary_.items()}
        )
    if settings.use_idf:
        files[WEIGHTS_FILE] = write_tensors({"idf": np.asarray(steps[0].idf_, dtype=np.float64)})
    fixed = {"kind": "pipeline", "outputs": list(outputs), "read": read}
    write_folder(out, {**about, **fixed, "vectorizer": settings.model_dump(mode="json")}, files)
    _hold(out, pipeline, texts)


def _features(vectorizer: Any) -> int:
    found = getattr(vectorizer, "n_features", None) or len(getattr(vectorizer, "vocabulary_", ()))
    return int(found or 1)


def _converted(pipeline: Any, settings: VectorizerSettings) -> bytes:
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError as error:
        raise ClassifierError('skl2onnx is needed: pip install "guardsteer[train]"') from error
    rest = pipeline[1:]
    try:
        graph = to_onnx(
            rest,
            initial_types=[(INPUT, FloatTensorType([None, settings.features]))],
            options={id(rest): {"zipmap": False}},
            target_opset=_OPSET,
        )
    except Exception as error:
        named = " > ".join(type(step).__name__ for _, step in pipeline.steps[1:])
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ClassifierError(f"skl2onnx cannot convert {named}: {told}") from error
    if OUTPUT not in [each.name for each in graph.graph.output]:
        raise ClassifierError(f"the converted pipeline gives no {OUTPUT}; its last step must be a classifier")
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


def _hold(out: Path, pipeline: Any, texts: Sequence[str]) -> None:
    """Compare what was written with the pipeline."""
    written = load_folder(out)
    if not isinstance(written, PipelineClassifier):
        raise ClassifierError(f"{out}: holds another kind of classifier than was written")
    expected = np.asarray(pipeline.predict_proba(list(texts)), dtype=np.float64)
    expected = expected[:, 1:] if len(written.outputs) == 1 else expected
    apart = np.abs(written.predict(texts) - expected).max(axis=1)
    wrong = int((apart > _TOLERANCE).sum())
    if wrong:
        raise ClassifierError(
            f"{out}: on {wrong} of {len(texts)} texts the scores are not the pipeline's, "
            f"{apart.max():.2g} apart at worst; its graph computes in float32, which moves what stands at "
            "the threshold of a tree: choose another model"
        )
