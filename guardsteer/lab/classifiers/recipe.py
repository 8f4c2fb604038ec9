"""``recipe.yaml`` of a classifier: which sources, which labels, how to train, what to hold it against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guardsteer.classify.words.characters import StripAccents
from guardsteer.classify.words.normalise import Normalise
from guardsteer.classify.words.reading import Analyzer
from guardsteer.classify.words.windows import Windows
from guardsteer.errors import ClassifierError, Problem
from guardsteer.lab.classifiers.fitting import About, Settings
from guardsteer.rules.document import compose, find, plain
from guardsteer.rules.places import Report
from guardsteer.rules.reading import decode

__all__ = ["RECIPE_FILE", "ClassifierRecipe", "SourceUse", "load_classifier_recipe"]

RECIPE_FILE = "recipe.yaml"

_Line: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
_Share: TypeAlias = Annotated[float, Field(ge=0.0, le=0.5, strict=False)]
_Names: TypeAlias = Annotated[tuple[_Line, ...], Field(min_length=1, strict=False)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SourceUse(_Closed):
    """A source and what its labels mean here.

    ``use``: a set's name, ``recipe:NAME`` for the pairs of a vector's recipe, or ``./FILE`` beside the
    recipe, CSV or JSONL with ``text`` and ``label`` (and, if given, ``slice`` and ``group``). ``labels``:
    label here to labels there; the first that fits counts, ``"*"`` fits all, rows without one are left out.
    ``purpose``: a set for ``testing`` is never trained on. ``most``: at most so many rows of each label.
    """

    use: _Line
    labels: Annotated[Mapping[_Line, _Names], Field(min_length=1)]
    purpose: Literal["training", "testing"] = "training"
    most: Annotated[int, Field(ge=1)] | None = None


class _Vectorizer(_Closed):
    type: Literal["tfidf", "hashing"] = "tfidf"
    analyzer: Analyzer = "word"
    ngrams: Annotated[tuple[int, int], Field(strict=False)] = (1, 2)
    features: Annotated[int, Field(ge=1)] = 40_000
    min_count: Annotated[int, Field(ge=1)] = 2
    shortest_word: Literal[1, 2] = 2
    strip_accents: StripAccents | None = None
    normalise: Normalise | None = None
    sublinear: bool = True
    idf: bool = True
    binary: bool = False
    norm: Literal["l2"] | None = "l2"


class _Model(_Closed):
    kind: Literal["logistic", "sgd"] = "logistic"
    penalties: Annotated[tuple[float, ...], Field(min_length=1, strict=False)] = (0.3, 1.0, 3.0, 10.0)
    balanced: bool = True


class _Prefixes(_Closed):
    """``each``: prefixes drawn of a text; ``shortest``: in words; ``spliced``: texts put behind others."""

    each: Annotated[int, Field(ge=0, le=16)] = 1
    shortest: Annotated[int, Field(ge=1)] = 4
    spliced: Annotated[int, Field(ge=0, le=16)] = 0


class _Windows(_Closed):
    """The newest words alone are read: ``every``, ``open`` and ``shortest`` as in a card's ``windows``.

    ``fragments``: drawn of each text to train on; ``mined``: rounds of training on false alarms; ``beside``:
    a classifier that is tried together with this one on streams, each raising the flag; ``leads``: sources
    whose negative texts make the benign part of streams (default: all). Those of a source that is left out
    are tried apart.
    """

    every: Annotated[int, Field(ge=1, le=1024)]
    open: Annotated[int, Field(ge=1, le=16)]
    shortest: Annotated[int, Field(ge=1, le=1024)] = 1
    fragments: Annotated[int, Field(ge=1, le=64)] = 4
    mined: Annotated[int, Field(ge=0, le=8)] = 2
    beside: _Line | None = None
    leads: Annotated[tuple[_Line, ...], Field(strict=False)] = ()

    @property
    def shape(self) -> Windows:
        """What the card keeps of it."""
        return Windows(every=self.every, open=self.open, shortest=self.shortest)


class _Encoder(_Closed):
    """The encoder whose embeddings are trained on in place of words, by name; the rest as on its card."""

    name: _Line
    read: Annotated[str, Field(pattern=r"^(prompt|sentences|every [1-9][0-9]{0,5})$")] = "sentences"
    window: Annotated[int, Field(ge=8)] | None = None
    over: Literal["max", "mean"] = "mean"


class _Split(_Closed):
    tune: _Share = 0.15
    test: _Share = 0.15


class ClassifierRecipe(_Closed):
    """A classifier that can be built again: data, settings, and the sources that it is tried on unseen.

    ``apart``: with several labels, the one that stands for none of them. ``left_out``: sources that are left
    out in turn, to see whether scores and threshold hold. ``failures``: what it is known to get wrong.
    """

    format: Literal["guardsteer.classifier/1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    version: _Line = "1"
    description: _Line
    licence: _Line
    positive: _Line | None = None
    apart: _Line | None = None
    sources: Annotated[tuple[SourceUse, ...], Field(min_length=1, strict=False)]
    left_out: Annotated[tuple[_Line, ...], Field(strict=False)] = ()
    vectorizer: _Vectorizer = _Vectorizer()
    model: _Model = _Model()
    prefixes: _Prefixes = _Prefixes()
    windows: _Windows | None = None
    encoder: _Encoder | None = None
    split: _Split = _Split()
    target_false_positive_rate: Annotated[float, Field(gt=0.0, lt=0.5, strict=False)] = 0.01
    seed: Annotated[int, Field(ge=0)] = 0
    failures: Annotated[tuple[_Line, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _labels_fit(self) -> ClassifierRecipe:
        labels = {label for source in self.sources for label in source.labels}
        for field, value in (("positive", self.positive), ("apart", self.apart)):
            if value is not None and value not in labels:
                raise ValueError(
                    f"{field} names {value!r}, which no source has; labels: {', '.join(sorted(labels))}"
                )
        if self.encoder is not None and (
            self.windows is not None or self.model.kind == "sgd" or "vectorizer" in self.model_fields_set
        ):
            raise ValueError(
                "with an encoder there are no vectorizer and no windows, and the model is logistic"
            )
        return self

    @property
    def about(self) -> About:
        """What the card says beyond what training finds out."""
        return About(self.name, self.version, self.description, self.licence)

    @property
    def settings(self) -> Settings:
        """How to train."""
        words, prefixes, windows = self.vectorizer, self.prefixes, self.windows
        return Settings(
            vectorizer=words.type,
            analyzer=words.analyzer,
            ngrams=words.ngrams,
            max_features=words.features,
            min_count=words.min_count,
            strip_accents=words.strip_accents,
            normalise=words.normalise,
            sublinear_tf=words.sublinear and words.type == "tfidf",
            use_idf=words.idf and words.type == "tfidf",
            binary=words.binary,
            norm=words.norm,
            model=self.model.kind,
            penalties=self.model.penalties,
            balanced=self.model.balanced,
            positive=self.positive,
            tune=self.split.tune,
            test=self.split.test,
            seed=self.seed,
            prefixes=prefixes.each,
            shortest_prefix=prefixes.shortest,
            splices=prefixes.spliced,
            calibrated=self.model.kind == "logistic",
            grouped=True,
            shortest_word=words.shortest_word,
            windows=None if windows is None else windows.shape,
            fragments=windows.fragments if windows else 0,
            mined=windows.mined if windows else 0,
        )


def load_classifier_recipe(path: Path) -> ClassifierRecipe:
    """Return the recipe in a folder or file.

    Raises ``ClassifierError`` that lists every mistake with its line.
    """
    file = path / RECIPE_FILE if path.is_dir() else path
    try:
        text = decode(file.read_bytes(), str(file))
    except OSError as error:
        hint = "give a folder that holds recipe.yaml, or its path"
        raise ClassifierError(
            [Problem(str(file), 0, 0, f"cannot be read: {error.strerror}", hint)]
        ) from error
    report = Report(str(file), text)
    root = compose(report)
    if report or root is None:
        raise ClassifierError(report.problems() or [Problem(str(file), 0, 0, "is empty")])
    try:
        return ClassifierRecipe.model_validate(plain(root))
    except ValidationError as error:
        found = error.errors(include_url=False)
        for item in found:
            # A list that lost its one item to a mistake is not a second mistake.
            if any(other["loc"][: len(item["loc"])] == item["loc"] for other in found if other is not item):
                continue
            node, key_start, _ = find(root, item["loc"])
            place = key_start if key_start >= 0 else node.start
            where = ".".join(str(part) for part in item["loc"])
            report.add(place, f"{where}: {item['msg']}" if where else str(item["msg"]), _got(item["input"]))
        raise ClassifierError(report.problems()) from error


def _got(value: Any) -> str:
    return "" if isinstance(value, dict) else f"got {value!r:.60}"
