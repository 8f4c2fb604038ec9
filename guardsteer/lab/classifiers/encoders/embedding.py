"""An encoder in the place of a vectorizer: embeddings to fit a table of weights to, and to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.encoders.encoder import Encoder, open_encoder
from guardsteer.classify.encoders.reading import EncoderClassifier, Head, Over
from guardsteer.classify.encoders.writing import write_encoder_classifier
from guardsteer.classify.pace.schedule import parse_schedule
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.encoders.meaning import Meaning

__all__ = ["Embedding", "open_embedding"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """An encoder to train with. Each text runs through it once, whatever is fitted how often.

    ``read``, ``window`` and ``over`` are those of the card. A table is fitted to the first window of each
    text, and scores all of them.
    """

    encoder: Encoder
    meaning: Meaning
    read: str
    window: int
    over: Over

    def __deepcopy__(self, memo: Any) -> Embedding:
        """Return itself: a session has no copy."""
        return self

    def fit(self, texts: Sequence[str]) -> Embedding:
        """Return itself: an encoder learns nothing of the texts."""
        if not any(text.strip() for text in texts):
            raise ValueError("all of them are blank")
        return self

    def transform(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the embeddings [row, width] of the texts' first windows."""
        return self.meaning.first(texts)

    def predict(self, model: Any, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities [row, output] by a fitted logistic regression, of all windows."""
        return self.meaning.says(texts, _head(model, _names(model)), self.over)

    def classifier(self, model: Any, outputs: Sequence[str]) -> EncoderClassifier:
        """Return the classifier that would be loaded if it were written."""
        return EncoderClassifier(
            encoder=self.encoder,
            head=_head(model, outputs),
            window=self.window,
            over=self.over,
            schedule=parse_schedule(self.read),
            digest="",
        )

    def write(self, folder: Path, model: Any, outputs: Sequence[str], card: Mapping[str, Any]) -> None:
        """Write the folder of a classifier with a fitted logistic regression for its table."""
        head = _head(model, outputs)
        write_encoder_classifier(
            folder,
            self.encoder.manifest,
            outputs=outputs,
            activation=head.activation,
            about=card,
            weight=head.weight,
            bias=head.bias,
            window=self.window,
            over=self.over,
            read=self.read,
        )


def open_embedding(
    folder: Path, *, read: str = "sentences", window: int | None = None, over: Over = "mean", name: str = ""
) -> Embedding:
    """Return the encoder in ``folder`` to train with; ``name``: the one that it must have.

    Raises ``ClassifierError`` where it cannot be loaded, has another name, or gives no embedding.
    """
    encoder = open_encoder(folder)
    manifest = encoder.manifest
    if name and manifest.name != name:
        raise ClassifierError(f"{folder}: is the encoder {manifest.name}, and the recipe names {name}")
    if manifest.gives != "embedding":
        raise ClassifierError(
            f"{folder}: is a sequence classifier with labels of its own, which a policy can name as it is; "
            "a table of weights is trained on an encoder that gives an embedding"
        )
    taken = manifest.max_tokens if window is None else window
    reads = EncoderClassifier(
        encoder=encoder,
        head=Head(("score",), "sigmoid"),
        window=taken,
        over=over,
        schedule=parse_schedule(read),
        digest="",
    )
    return Embedding(encoder, Meaning(encoder, reads), read, taken, over)


def _names(model: Any) -> list[str]:
    return ["score"] if len(model.classes_) == 2 else [str(each) for each in model.classes_]


def _head(model: Any, outputs: Sequence[str]) -> Head:
    # In float32, as the folder keeps it.
    weight = np.asarray(model.coef_.T, dtype=np.float32).astype(np.float64)
    activation: Activation = "sigmoid" if len(outputs) == 1 else "softmax"
    return Head(tuple(outputs), activation, weight, np.asarray(model.intercept_, dtype=np.float64))
