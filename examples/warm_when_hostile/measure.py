"""Figures of one decoding: what triggered, what changed, and what random vectors of equal norm change."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.warm_when_hostile.talk import Decoding, ask, prompt_ids
from guardsteer.audit import read, verify
from guardsteer.core.events import ActivationBegan, Event
from guardsteer.core.policy import Policy
from guardsteer.errors import AuditError
from guardsteer.evaluate import (
    Estimate,
    ReplyLoss,
    bootstrap,
    mean_interval,
    perplexity,
    reply_losses,
    wilson,
)
from guardsteer.evaluate.vader import compounds
from guardsteer.runtime import wrap
from guardsteer.steer import Vector, make_vector

__all__ = [
    "POLICY",
    "Change",
    "Figures",
    "Group",
    "Run",
    "audited",
    "change",
    "figures",
    "guarded",
    "random_like",
    "request_of",
]

POLICY = Path(__file__).resolve().parent / "policy.yaml"
RANDOM_SEEDS = (1, 2, 3)

Ids = list[int]


@dataclass(frozen=True, slots=True)
class Group:
    """Held-out prompts of one source that should all trigger, or none of them."""

    name: str
    hostile: bool
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Replies under guard, and which of the rows the audit says were steered."""

    replies: list[Ids]
    steered: list[bool]


@dataclass(frozen=True, slots=True)
class Change:
    """What steering did to the steered rows: VADER of the replies before, after, and the difference.

    ``perplexity_ratio``: of the guarded replies to the bare ones, both under the bare model, over all tokens.
    """

    before: Estimate
    after: Estimate
    gain: Estimate
    perplexity_before: float
    perplexity_after: float
    perplexity_ratio: Estimate
    replies_changed: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured with one way of decoding."""

    decoding: Decoding
    triggered: Mapping[str, Estimate]
    untriggered: int
    untriggered_identical: int
    change: Change | None
    by_group: Mapping[str, Change]
    random: Mapping[int, Change]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return asdict(self)


def guarded(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    decoding: Decoding,
    vector: Vector,
    *,
    policy: Policy | Path = POLICY,
) -> Run:
    """Return what the model replies under the policy with ``vector``.

    Which rows were steered is read from the audit log of the run, after it was verified.
    Raises ``AuditError`` where it does not verify.
    """
    replies, events = audited(model, tokenizer, prompts, decoding, policy, {"warmth": vector})
    steered = {event.request for event in events if isinstance(event, ActivationBegan)}
    return Run(replies, [request_of(number) in steered for number in range(len(prompts))])


def audited(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    decoding: Decoding,
    policy: Policy | Path,
    vectors: Mapping[str, Vector],
) -> tuple[list[Ids], list[Event]]:
    """Return what the model replies under ``policy``, and the events of the audit log of that run.

    ``request_of(n)`` is the request of prompt ``n``. Raises ``AuditError`` where the log does not verify.
    """
    names = [request_of(number) for number in range(len(prompts))]
    with tempfile.TemporaryDirectory() as folder:
        with wrap(model, tokenizer, policy=policy, audit=folder, vectors=vectors) as guard:
            replies = ask(model, tokenizer, prompts, decoding, guard=guard, names=names)
        findings = verify(folder).findings
        if findings:
            raise AuditError("\n".join(f"{found.file}:{found.line}: {found.message}" for found in findings))
        return replies, [stored.event for stored in read(folder) if isinstance(stored.event, Event)]


def request_of(number: int) -> str:
    """Return the id of the request of a prompt."""
    return f"prompt-{number}"


def random_like(vector: Vector, seed: int) -> Vector:
    """Return a vector of random unit directions with the norms and the card of ``vector``."""
    drawn = np.random.default_rng(seed).standard_normal(vector.directions.shape)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return make_vector(vector.card, directions=drawn, residual_norms=vector.residual_norms)


def change(
    model: Any, tokenizer: Any, prompts: Sequence[str], bare: Sequence[Ids], after: Sequence[Ids]
) -> Change:
    """Return what changed from ``bare`` replies to ``after``, row by row; ``model`` judges unguarded."""
    asked = [prompt_ids(tokenizer, text) for text in prompts]
    sentiment = [
        compounds(tokenizer.batch_decode(list(replies), skip_special_tokens=True))
        for replies in (bare, after)
    ]
    losses = [reply_losses(model, asked, replies) for replies in (bare, after)]
    rows = np.array([[*_pair(first), *_pair(second)] for first, second in zip(*losses, strict=True)])
    return Change(
        before=mean_interval(sentiment[0]),
        after=mean_interval(sentiment[1]),
        gain=mean_interval(np.subtract(sentiment[1], sentiment[0])),
        perplexity_before=perplexity(losses[0]),
        perplexity_after=perplexity(losses[1]),
        perplexity_ratio=bootstrap(rows, _ratio),
        replies_changed=sum(first != second for first, second in zip(bare, after, strict=True)),
    )


def _pair(loss: ReplyLoss) -> tuple[float, float]:
    return loss.nats, float(loss.tokens)


def _ratio(rows: NDArray[np.float64]) -> float:
    nats, tokens, nats_after, tokens_after = rows.sum(axis=0)
    return float(np.exp(nats_after / tokens_after - nats / tokens))


def figures(
    model: Any,
    tokenizer: Any,
    groups: Sequence[Group],
    decodings: Sequence[Decoding],
    vector: Vector,
    *,
    random_seeds: Sequence[int] = RANDOM_SEEDS,
) -> Figures:
    """Measure the policy over ``groups``; several decodings (seeds) count as so many rows each."""
    prompts = [text for group in groups for text in group.prompts]
    places = _places(groups)
    bare: list[Ids] = []
    after: list[Ids] = []
    steered: list[bool] = []
    others: dict[int, list[Ids]] = {seed: [] for seed in random_seeds}
    for decoding in decodings:
        bare += ask(model, tokenizer, prompts, decoding)
        run = guarded(model, tokenizer, prompts, decoding, vector)
        after += run.replies
        steered += run.steered
        for seed, replies in others.items():
            replies += guarded(model, tokenizer, prompts, decoding, random_like(vector, seed)).replies
    asked = prompts * len(decodings)

    def changed(rows: Sequence[int], replies: Sequence[Ids]) -> Change:
        return change(
            model,
            tokenizer,
            [asked[row] for row in rows],
            [bare[row] for row in rows],
            [replies[row] for row in rows],
        )

    hits = [row for row in range(len(asked)) if steered[row]]
    misses = [row for row in range(len(asked)) if not steered[row]]
    by_group = {
        group.name: [row for row in hits if row % len(prompts) in places[group.name]]
        for group in groups
        if group.hostile
    }
    return Figures(
        decoding=decodings[0],
        triggered={
            # The prompt alone decides, so one seed tells.
            group.name: wilson(sum(steered[row] for row in places[group.name]), len(group.prompts))
            for group in groups
        },
        untriggered=len(misses),
        untriggered_identical=sum(bare[row] == after[row] for row in misses),
        change=changed(hits, after) if hits else None,
        by_group={name: changed(rows, after) for name, rows in by_group.items() if rows},
        random={seed: changed(hits, replies) for seed, replies in others.items() if hits},
    )


def _places(groups: Sequence[Group]) -> dict[str, range]:
    places, start = {}, 0
    for group in groups:
        places[group.name] = range(start, start + len(group.prompts))
        start += len(group.prompts)
    return places
