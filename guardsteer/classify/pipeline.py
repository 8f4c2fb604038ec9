"""A scikit-learn pipeline at work: guardsteer's own features, and the rest of it as an ONNX graph.

Text stays outside the graph: ONNX has no ``char_wb`` and no hashing, and its string operators depend on
the machine's locale. So the first step is a vectorizer that guardsteer reproduces exactly, and whatever
follows it takes a dense row of numbers. The whole text is read anew, where the schedule says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.files.artifact import VOCABULARY_FILE, read_file, read_tensors, read_vocabulary
from guardsteer.classify.files.card import PipelineCard
from guardsteer.classify.files.graph import MODEL_FILE, WEIGHTS_FILE
from guardsteer.classify.pace.reread import RereadState
from guardsteer.classify.pace.schedule import Schedule, parse_schedule
from guardsteer.classify.words.vectorizer import Vectorizer
from guardsteer.core.digests import digest_json
from guardsteer.errors import ClassifierError, Problem

__all__ = ["INPUT", "OUTPUT", "PipelineClassifier", "load_pipeline"]

INPUT: Final = "features"
OUTPUT: Final = "probabilities"

_BATCH_VALUES = 8_000_000
_FAR_OUT = 1e-3


class PipelineClassifier:
    """Scores of whole texts by a converted pipeline; shared by all rows."""

    __slots__ = ("_path", "_session", "_vectorizer", "digest", "outputs", "schedule")

    def __init__(
        self,
        *,
        vectorizer: Vectorizer,
        session: Any,
        path: Path,
        outputs: tuple[str, ...],
        schedule: Schedule,
        digest: str,
    ) -> None:
        self._vectorizer = vectorizer
        self._session = session
        self._path = path
        self.outputs = outputs
        self.schedule = schedule
        self.digest = digest

    def start(self) -> RereadState:
        """Return the state of a row that has read nothing."""
        return RereadState(self)

    def read(self, text: str) -> Sequence[float]:
        """Return the probabilities [output] of a text."""
        scores: list[float] = self.predict([text])[0].tolist()
        return scores

    def read_at(self, schedule: Schedule) -> PipelineClassifier:
        """Return it with another schedule; graph and vocabulary are shared."""
        return PipelineClassifier(
            vectorizer=self._vectorizer,
            session=self._session,
            path=self._path,
            outputs=self.outputs,
            schedule=schedule,
            digest=self.digest,
        )

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities [row, output] of whole texts.

        Raises ``ClassifierError`` where the graph cannot be run or gives no probabilities.
        """
        width = self._vectorizer.settings.features
        most = max(1, _BATCH_VALUES // width)
        parts = [self._run(texts[begin : begin + most]) for begin in range(0, len(texts), most)]
        return np.vstack(parts) if parts else np.empty((0, len(self.outputs)))

    def _run(self, texts: Sequence[str]) -> NDArray[np.float64]:
        rows = np.zeros((len(texts), self._vectorizer.settings.features), dtype=np.float32)
        for row, text in enumerate(texts):
            indices, values = self._vectorizer.transform(text)
            rows[row, indices] = values
        try:
            found = np.asarray(self._session.run([OUTPUT], {INPUT: rows})[0], dtype=np.float64)
        except Exception as error:
            raise self._error(f"cannot be run by onnxruntime: {error}") from error
        columns = max(2, len(self.outputs))
        if found.shape != (len(texts), columns):
            raise self._error(
                f"gave the shape {list(found.shape)} for {len(texts)} texts, expected {columns} columns"
            )
        if not bool(np.all((found >= -_FAR_OUT) & (found <= 1 + _FAR_OUT))):
            raise self._error("gave numbers that are no probabilities")
        held = np.clip(found, 0.0, 1.0)
        return held[:, 1:] if len(self.outputs) == 1 else held

    def _error(self, message: str) -> ClassifierError:
        return ClassifierError([Problem(str(self._path), 0, 0, message)])


def load_pipeline(folder: Path, card: PipelineCard) -> PipelineClassifier:
    """Return the pipeline in a folder whose card was read.

    Raises ``ClassifierError`` where files are damaged or the graph is no pipeline's.
    """
    settings = card.vectorizer
    vocabulary = idf = None
    if settings.type == "tfidf":
        data = read_file(folder, VOCABULARY_FILE, card.files[VOCABULARY_FILE])
        vocabulary = read_vocabulary(folder / VOCABULARY_FILE, data, settings.features)
    if settings.use_idf:
        data = read_file(folder, WEIGHTS_FILE, card.files[WEIGHTS_FILE])
        shape = {"idf": ((settings.features,), ("float64",))}
        idf = read_tensors(folder / WEIGHTS_FILE, data, shape)["idf"]
    model = read_file(folder, MODEL_FILE, card.files[MODEL_FILE])
    decides = {"kind", "outputs", "vectorizer", "files"}
    return PipelineClassifier(
        vectorizer=Vectorizer(settings, vocabulary=vocabulary, idf=idf),
        session=_open(folder / MODEL_FILE, model),
        path=folder / MODEL_FILE,
        outputs=card.outputs,
        schedule=parse_schedule(card.read),
        digest=digest_json(card.model_dump(mode="json", include=decides)),
    )


def _open(path: Path, model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:
        message = f"cannot be loaded by onnxruntime: {error}"
        raise ClassifierError([Problem(str(path), 0, 0, message)]) from error
    inputs = [(each.name, each.type) for each in session.get_inputs()]
    outputs = [each.name for each in session.get_outputs()]
    if inputs != [(INPUT, "tensor(float)")] or OUTPUT not in outputs:
        message = f"takes {inputs} and gives {outputs}, expected {INPUT} in float and {OUTPUT}"
        raise ClassifierError([Problem(str(path), 0, 0, message)])
    return session
