"""The members of a stack in training: fitted to rows, asked of rows that they were not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from guardsteer.classify.activation import Activation
from guardsteer.classify.encoders.encoder import Encoder
from guardsteer.classify.encoders.reading import EncoderClassifier, Head
from guardsteer.classify.pace.opening import opening_of
from guardsteer.classify.pace.schedule import parse_schedule
from guardsteer.lab.classifiers.combining.recipe import MemberUse, StackRecipe
from guardsteer.lab.classifiers.encoders.meaning import Meaning
from guardsteer.lab.classifiers.figures import Floats
from guardsteer.lab.classifiers.fitting import Numbers, Settings
from guardsteer.lab.classifiers.text_fitting import fit_texts

__all__ = ["Fitter", "Says", "Table", "classifier_of", "heard"]

Says: TypeAlias = Callable[[Sequence[str]], Floats]
"""From whole texts to probabilities, [row, output]."""

_LEAST = 1e-15
_MOST_ITERATIONS = 3000


@dataclass(frozen=True, slots=True)
class Table:
    """A table over the encoder: ``weight`` [width, output], ``bias`` [output], the penalty chosen."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    penalty: float


def heard(texts: Iterable[str], member: MemberUse) -> list[str]:
    """Return what a member hears of texts."""
    words = member.first_words
    return list(texts) if words is None else [opening_of(text, words) for text in texts]


def classifier_of(
    encoder: Encoder, table: Table, recipe: StackRecipe, outputs: tuple[str, ...], digest: str = ""
) -> EncoderClassifier:
    """Return the classifier over ``encoder`` that a table makes."""
    settings = recipe.encoder
    activation: Activation = "sigmoid" if len(outputs) == 1 else "softmax"
    return EncoderClassifier(
        encoder=encoder,
        # As the folder keeps it.
        head=Head(outputs, activation, table.weight.astype(np.float32).astype(np.float64), table.bias),
        window=settings.window or encoder.manifest.max_tokens,
        over=settings.over,
        schedule=parse_schedule(settings.read),
        digest=digest,
    )


@dataclass(frozen=True, slots=True)
class Fitter:
    """Fits the members of a recipe to rows; ``settings`` are those of the words, the base recipe's."""

    recipe: StackRecipe
    settings: Settings
    outputs: tuple[str, ...]
    meaning: Meaning

    def words(self, train: tuple[Sequence[str], Numbers], tune: tuple[Sequence[str], Numbers]) -> Says:
        """Return what the words say once fitted to ``train``, calibrated on ``tune``."""
        return fit_texts(train, tune, self.settings).predict

    def table(
        self,
        train: tuple[Sequence[str], Numbers],
        tune: tuple[Sequence[str], Numbers],
        penalties: Sequence[float] = (),
    ) -> Table:
        """Return the table fitted to ``train``, with the penalty that serves ``tune`` best.

        It learns each text whole, and as far as each member hears it. ``penalties``: the recipe's by default.
        """
        kinds = [member for member in self.recipe.members if member.use == "meaning"]
        kinds = (
            kinds
            if any(member.first_words is None for member in kinds)
            else [MemberUse(use="meaning"), *kinds]
        )
        shown = np.concatenate([self.meaning.first(heard(train[0], member)) for member in kinds])
        labels = np.concatenate([train[1]] * len(kinds))
        held = self.meaning.first(tune[0])
        tried = []
        with threadpool_limits(1):
            for penalty in penalties or self.recipe.encoder.penalties:
                model = LogisticRegression(
                    C=penalty,
                    class_weight="balanced" if self.settings.balanced else None,
                    max_iter=_MOST_ITERATIONS,
                ).fit(shown, labels)
                given = model.predict_proba(held)[np.arange(len(tune[1])), tune[1]]
                tried.append((float(-np.log(np.maximum(given, _LEAST)).mean()), penalty, model))
        _, penalty, model = min(tried, key=lambda each: each[0])
        return Table(model.coef_.T, model.intercept_, penalty)

    def says_of(self, table: Table) -> Says:
        """Return what a table says of whole texts."""
        head = classifier_of(self.meaning.encoder, table, self.recipe, self.outputs).head
        over = self.recipe.encoder.over
        return lambda texts: self.meaning.says(texts, head, over)

    def asked(self, words: Says, meaning: Says, texts: Sequence[str]) -> Floats:
        """Return what all members say of texts, [row, members' outputs in order]."""
        by = {"words": words, "meaning": meaning}
        return np.hstack([by[member.use](heard(texts, member)) for member in self.recipe.members])
