"""From what a policy says of a classifier to the classifier. No torch unless it is a probe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from guardsteer.assets import Catalog, resolve
from guardsteer.classify.combined.combination import Blend, CombinationClassifier
from guardsteer.classify.combined.files import DEEPEST, checked_member, read_stack
from guardsteer.classify.files.artifact import VOCABULARY_FILE, read_file, read_tensors, read_vocabulary
from guardsteer.classify.files.card import (
    CARD_FILE,
    Card,
    CombinationCard,
    EncoderCard,
    LinearCard,
    PatternsCard,
    PipelineCard,
    ProbeCard,
    read_card,
)
from guardsteer.classify.files.graph import MODEL_FILE, WEIGHTS_FILE, Graph
from guardsteer.classify.patterns import PatternClassifier
from guardsteer.classify.placing import placed
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.classify.words.vectorizer import Vectorizer
from guardsteer.classify.words.windows import WindowedClassifier
from guardsteer.core.digests import digest_json
from guardsteer.core.policy import ClassifierSpec
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError, GuardsteerError, Problem

if TYPE_CHECKING:
    from guardsteer.classify.encoders.reading import EncoderClassifier
    from guardsteer.classify.pipeline import PipelineClassifier
    from guardsteer.classify.probe import Probe

__all__ = [
    "PROBE_FILE",
    "PROBE_OUTPUTS",
    "Loaded",
    "load_classifier",
    "load_folder",
    "load_member",
    "outputs_of",
]

PROBE_FILE: Final = "probe.yaml"
PROBE_OUTPUTS: Final = ("score",)

Loaded: TypeAlias = (
    "PatternClassifier | LinearClassifier | WindowedClassifier"
    " | CombinationClassifier | EncoderClassifier | PipelineClassifier | Probe"
)
"""What a folder holds."""


def load_classifier(spec: ClassifierSpec, base: Path, catalog: Catalog) -> Loaded:
    """Return the classifier that a policy in the folder ``base`` asks for.

    Raises ``ClassifierError`` where its files are damaged, ``AssetError`` where there are none.
    """
    if spec.combine is not None:
        raise ClassifierError(f"classifier {spec.name}: it combines scores of the policy and reads no text")
    if spec.use is None:
        try:
            return PatternClassifier(
                literals=spec.literals,
                patterns=spec.patterns,
                ignore_case=spec.ignore_case,
                tail_characters=spec.tail_characters,
            )
        except ClassifierError as error:
            raise ClassifierError(f"classifier {spec.name}: {error}") from error
    encoders = () if spec.encoder is None else (base / spec.encoder,)
    return placed(spec, load_folder(_folder(spec.use, base, catalog), catalog, encoders))


def outputs_of(spec: ClassifierSpec, base: Path, catalog: Catalog) -> tuple[str, ...]:
    """Return the names of a classifier's outputs: as its card says, or as a probe has that is not made yet.

    Raises ``ClassifierError`` where the card is damaged, ``AssetError`` where there is none.
    """
    if spec.combine is not None:
        return ("score",)
    if spec.use is None:
        return ("match",)
    folder = _folder(spec.use, base, catalog)
    if not (folder / CARD_FILE).is_file() and (folder / PROBE_FILE).is_file():
        return PROBE_OUTPUTS
    card = read_card(folder)
    return ("match",) if isinstance(card, PatternsCard) else card.outputs


def load_folder(folder: Path, catalog: Catalog | None = None, encoders: Sequence[Path] = ()) -> Loaded:
    """Return the classifier in a folder; ``catalog`` finds the members of a combination.

    The encoder that a card names is looked for in the folders ``encoders`` first (see ``encoders.load``).
    Raises ``ClassifierError`` where its files are damaged, or a member is another than the card names.
    """
    card: Card = read_card(folder)
    if isinstance(card, CombinationCard):
        return _load_combination(folder, card, catalog or Catalog(), encoders=encoders)
    if isinstance(card, EncoderCard):
        from guardsteer.classify.encoders.load import load_encoder_classifier

        return load_encoder_classifier(folder, card, catalog or Catalog(), encoders)
    if isinstance(card, PipelineCard):
        from guardsteer.classify.pipeline import load_pipeline

        return load_pipeline(folder, card)
    if isinstance(card, ProbeCard):
        from guardsteer.classify.probe import load_probe

        return load_probe(folder)
    if isinstance(card, LinearCard):
        return _load_linear(folder, card)
    try:
        return PatternClassifier(
            literals=card.literals,
            patterns=card.patterns,
            ignore_case=card.ignore_case,
            tail_characters=card.tail_characters,
            normalise=card.normalise,
        )
    except ClassifierError as error:
        raise ClassifierError(f"{folder / 'classifier.json'}: {error}") from error


def _load_combination(
    folder: Path, card: CombinationCard, catalog: Catalog, depth: int = 1, encoders: Sequence[Path] = ()
) -> CombinationClassifier:
    """Return the combination in ``folder``, with its members as the card names them.

    Members' encoders are looked for in the folders ``encoders`` first.

    Raises ``ClassifierError`` that lists every member that is missing, damaged or another classifier than the
    one that the combination was made of.
    """
    if depth > DEEPEST:
        raise ClassifierError(f"{folder}: combinations lie within one another more than {DEEPEST} deep")
    members: dict[str, TextClassifier] = {}
    loaded: dict[str, TextClassifier] = {}
    problems: list[Problem] = []
    for place, entry in enumerate(card.members):
        try:
            if entry.use not in loaded:
                loaded[entry.use] = load_member(entry.use, folder, catalog, depth, encoders)
            members[f"{place}: {entry.use}"] = checked_member(entry, loaded[entry.use])
        except GuardsteerError as error:
            told = f"members.{place}: {entry.use!r}: {' '.join(str(error).split())}"
            problems.append(Problem(str(folder / CARD_FILE), 0, 0, told[:1000]))
    if problems:
        raise ClassifierError(problems)
    decides = {"kind", "outputs", "by", "missing", "activation", "members", "files"}
    blend = Blend(card.by, len(members), len(card.outputs), card.missing, read_stack(folder, card))
    digest = digest_json(card.model_dump(mode="json", include=decides))
    return CombinationClassifier(members, blend, outputs=card.outputs, digest=digest)


def load_member(
    use: str, base: Path, catalog: Catalog, depth: int = 1, encoders: Sequence[Path] = ()
) -> TextClassifier:
    """Return the classifier that ``use`` names, which reads text; a path is taken from ``base``."""
    path = resolve("classifiers", use, base, catalog)
    folder = path if path.is_dir() else path.parent
    card = read_card(folder)
    if isinstance(card, CombinationCard):
        return _load_combination(folder, card, catalog, depth + 1, encoders)
    if card.kind == "probe":
        raise ClassifierError(
            "is a probe, which reads hidden states and not text; combine its score in the policy: "
            "combine: {of: [probe, words], by: max}"
        )
    found = load_folder(folder, catalog, encoders)
    if not hasattr(found, "start"):
        raise ClassifierError(f"is of kind {card.kind!r}, which reads no text")
    return found


def _folder(use: str, base: Path, catalog: Catalog) -> Path:
    path = resolve("classifiers", use, base, catalog)
    return path if path.is_dir() else path.parent


def _load_linear(folder: Path, card: LinearCard) -> LinearClassifier | WindowedClassifier:
    settings = card.vectorizer
    shapes = {
        "weight": ((settings.features, len(card.outputs)), ("float32", "float64")),
        "bias": ((len(card.outputs),), ("float64",)),
    }
    if settings.use_idf:
        shapes["idf"] = ((settings.features,), ("float64",))
    weights = read_file(folder, WEIGHTS_FILE, card.files[WEIGHTS_FILE])
    tensors = read_tensors(folder / WEIGHTS_FILE, weights, shapes)
    model = read_file(folder, MODEL_FILE, card.files[MODEL_FILE])
    vocabulary = None
    if settings.type == "tfidf":
        data = read_file(folder, VOCABULARY_FILE, card.files[VOCABULARY_FILE])
        vocabulary = read_vocabulary(folder / VOCABULARY_FILE, data, settings.features)
    decides = {"kind", "outputs", "activation", "vectorizer", "files"}
    linear = LinearClassifier(
        vectorizer=Vectorizer(settings, vocabulary=vocabulary, idf=tensors.get("idf")),
        weight=tensors["weight"],
        bias=tensors["bias"].tolist(),
        outputs=card.outputs,
        activation=card.activation,
        digest=digest_json(card.model_dump(mode="json", include=decides)),
        graph=Graph(folder / MODEL_FILE, model, tensors["weight"], tensors["bias"]),
    )
    return linear if card.windows is None else WindowedClassifier(linear, card.windows)
