"""What a classifier hears of onsets in streams made of rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from guardsteer.classify.encoders.reading import EncoderClassifier
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.classify.words.vectorizer import Vectorizer
from guardsteer.classify.words.windows import WindowedClassifier
from guardsteer.core.signals import TextClassifier
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.eval_stream import (
    Splice,
    Streamed,
    splices_of,
    stream_scores,
    streamed,
    threshold_for_streams,
)
from guardsteer.lab.classifiers.sklearn_models import from_sklearn
from guardsteer.lab.classifiers.text_fitting import Fitted

__all__ = ["as_classifier", "streams_of"]

_STREAMS = 300
_DEBOUNCES = (1, 3)
_ALARMS_PER_TOKEN = 1 / 5_000


def streams_of(
    classifier: TextClassifier,
    tune: Sequence[Example],
    test: Sequence[Example],
    positive: str,
    *,
    seed: int,
    threshold: float | None = None,
    part: str = "",
    beside: tuple[str, TextClassifier] | None = None,
) -> tuple[Streamed, ...]:
    """Return what is heard of ``test`` rows in streams: at ``threshold``, if given, and at one for streams.

    That is set on streams of ``tune`` rows, for at most one false alarm in 5,000 benign tokens.
    ``beside``: another classifier and its name, tried together with this one: either raises the flag.
    """
    tuning = splices_of(tune, positive, count=_STREAMS, seed=seed)
    splices = splices_of(test, positive, count=_STREAMS, seed=seed + 1)
    tuned, scores = ([stream_scores(classifier, splice) for splice in each] for each in (tuning, splices))
    together = (
        None
        if beside is None
        else [_highest(row, beside[1], s) for row, s in zip(scores, splices, strict=True)]
    )
    found = []
    for after in _DEBOUNCES:
        set_for = threshold_for_streams(tuning, tuned, after=after, alarms_per_token=_ALARMS_PER_TOKEN)
        if threshold is not None:
            found.append(replace(streamed(splices, scores, threshold, after=after), part=part))
        found.append(replace(streamed(splices, scores, set_for, after=after), tuned=True, part=part))
        if beside is not None and together is not None:
            heard = streamed(splices, together, set_for, after=after)
            both = f"{part or 'all'}, together with {beside[0]}"
            found.append(replace(heard, tuned=True, part=both))
    return tuple(found)


def as_classifier(
    fitted: Fitted, outputs: Sequence[str]
) -> LinearClassifier | WindowedClassifier | EncoderClassifier:
    """Return what a fitted pair would be if it were written and loaded, without a graph."""
    if fitted.encoder is not None:
        return fitted.encoder.classifier(fitted.model, outputs)
    model = from_sklearn(fitted.vectorizer, fitted.model, outputs)
    linear = LinearClassifier(
        vectorizer=Vectorizer(model.settings, vocabulary=model.vocabulary, idf=model.idf),
        weight=model.weight,
        bias=model.bias.tolist(),
        outputs=model.outputs,
        activation=model.activation,
        digest="",
    )
    return linear if fitted.windows is None else WindowedClassifier(linear, fitted.windows)


def _highest(scores: Sequence[float], other: TextClassifier, splice: Splice) -> list[float]:
    return [max(pair) for pair in zip(scores, stream_scores(other, splice), strict=True)]
