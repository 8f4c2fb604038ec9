"""The measured effect of steering: what a model writes bare, and what it writes under a push.

Every steered reply comes from the runtime itself, a policy in memory under ``guardsteer.wrap``, so that what
is measured here is what a policy will do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import torch

from guardsteer.core.digests import digest_json
from guardsteer.core.policy import Policy, Position, RuleSpec, ScheduleSpec, SteerSpec, VectorSpec
from guardsteer.errors import VectorError, VectorsFightWarning
from guardsteer.evaluate import ReplyLoss, reply_losses
from guardsteer.host import render_chat
from guardsteer.lab.measure.memory import Memory
from guardsteer.lab.pairs.prompts import Prompt, prompts_digest
from guardsteer.runtime import Guard, wrap
from guardsteer.steer import Vector, make_vector

__all__ = ["Bench", "Push", "Reply", "random_like", "schedule_text"]

_PURPOSE = "effect"


@dataclass(frozen=True, slots=True)
class Push:
    """One use of a vector: the bench's name of it, where, how strongly and for how long.

    ``strength`` is in units of the block's residual norm; below zero the vector is subtracted.
    """

    vector: str
    blocks: tuple[int, ...]
    strength: float
    positions: tuple[Position, ...] = ("last_prompt_token", "generated")
    schedule: ScheduleSpec | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote: token ids with the end token, without padding; and the text."""

    ids: tuple[int, ...]
    text: str


def schedule_text(schedule: ScheduleSpec | None) -> str:
    """Return a schedule in the words of a policy; ``constant`` for None."""
    if schedule is None:
        return "constant"
    parts = [
        (schedule.ramp is not None, f"ramp {schedule.ramp}"),
        (schedule.half_life is not None, f"half-life {schedule.half_life:g}" if schedule.half_life else ""),
        (schedule.every is not None, f"stronger by {schedule.by:g} every {schedule.every}"),
        (schedule.until_sentence_end, "until sentence end"),
    ]
    return ", ".join(text for given, text in parts if given) or "constant"


def random_like(vector: Vector, seed: int) -> Vector:
    """Return the control: random unit directions with the norms and the card of ``vector``."""
    drawn = np.random.default_rng(seed).standard_normal(vector.directions.shape)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return make_vector(vector.card, directions=drawn, residual_norms=vector.residual_norms)


class Bench:
    """A model with vectors at hand, to be asked the same prompts under many pushes; greedy and batched.

    A context manager: the model is guarded within, and as it was afterwards. ``new_tokens`` bounds a reply.
    What the bare model replies to a list of prompts is computed once, and with a ``memory``, which must be of
    this model, everything is. Raises what ``wrap`` raises.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        vectors: Mapping[str, Vector],
        *,
        new_tokens: int = 48,
        batch_size: int = 32,
        memory: Memory | None = None,
    ) -> None:
        if new_tokens < 1 or batch_size < 1:
            raise VectorError(f"new_tokens and batch_size: {new_tokens}, {batch_size}, expected 1 or more")
        self.model = model
        self.tokenizer = tokenizer
        self.vectors = dict(vectors)
        self._new_tokens = new_tokens
        self._batch_size = batch_size
        self._memory = memory
        self._bare: dict[str, tuple[Reply, ...]] = {}
        self._bare_losses: dict[str, list[ReplyLoss]] = {}
        self._guard: Guard | None = None
        self._ends = _end_tokens(model, tokenizer)
        pad = tokenizer.pad_token_id
        self._pad = int(pad) if pad is not None else min(self._ends, default=0)

    def __enter__(self) -> Bench:
        self._guard = wrap(self.model, self.tokenizer, policy=_policy(()), vectors=self.vectors)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guard is not None:
            self._guard.detach()
        self._guard = None

    def bare(self, prompts: Sequence[Prompt]) -> tuple[Reply, ...]:
        """Return what the model replies without steering, in the order of ``prompts``."""
        key = prompts_digest(prompts)
        if key not in self._bare:
            self._bare[key] = self._recalled(prompts, (), lambda: self._replies(prompts))
        return self._bare[key]

    def steered(self, prompts: Sequence[Prompt], pushes: Sequence[Push]) -> tuple[Reply, ...]:
        """Return what the model replies under ``pushes`` together, in the order of ``prompts``.

        Raises ``VectorError`` for a vector that the bench lacks, or two pushes with one vector.
        """
        self._adopt(pushes)
        return self._recalled(prompts, pushes, lambda: self._replies(prompts, guarded=True))

    def losses(self, prompts: Sequence[Prompt], replies: Sequence[Reply]) -> list[ReplyLoss]:
        """Return how likely the bare model finds each reply after its prompt."""
        said = [list(reply.ids) for reply in replies]
        key = ["losses", prompts_digest(prompts), digest_json(said), self._batch_size]
        known = self._memory.get(key) if self._memory is not None else None
        if known is not None:
            return [ReplyLoss(*row) for row in known]
        asked = [self._ids(prompt) for prompt in prompts]
        found = reply_losses(self.model, asked, said, batch_size=self._batch_size)
        if self._memory is not None:
            self._memory.put(key, [astuple(loss) for loss in found])
        return found

    def bare_losses(self, prompts: Sequence[Prompt]) -> list[ReplyLoss]:
        """Return how likely the bare model finds its own replies."""
        key = prompts_digest(prompts)
        if key not in self._bare_losses:
            self._bare_losses[key] = self.losses(prompts, self.bare(prompts))
        return self._bare_losses[key]

    def divergences(
        self, prompts: Sequence[Prompt], pushes: Sequence[Push], *, tokens: int = 8
    ) -> list[float]:
        """Return for each prompt how far steering moves what comes next, in nats a token.

        The Kullback-Leibler divergence of the steered from the bare distribution of the next token, after
        the same text, averaged over the first ``tokens`` tokens that the steered model writes.
        """
        self._adopt(pushes)
        found = [0.0] * len(prompts)
        for places, inputs in self._batches(prompts):
            width = inputs["input_ids"].shape[1]
            output = self._generate(
                inputs, guarded=True, tokens=tokens, output_logits=True, return_dict_in_generate=True
            )
            steered = torch.stack(output.logits, dim=1).float().log_softmax(-1)
            for row, place in enumerate(places):
                written = self._until_end(output.sequences[row, width:].tolist())
                found[place] = self._divergence(prompts[place], written, steered[row, : len(written)])
        return found

    @torch.no_grad()
    def _divergence(self, prompt: Prompt, written: list[int], steered: torch.Tensor) -> float:
        if not written:
            return 0.0
        ids = self._ids(prompt)
        row = torch.tensor([ids + written], device=self.model.device)
        logits = self.model(input_ids=row, use_cache=False).logits[0, len(ids) - 1 : -1]
        bare = logits.float().log_softmax(-1)
        return float((steered.exp() * (steered - bare)).sum(-1).clamp(min=0.0).mean())

    # --- generating --------------------------------------------------------------------------

    def _adopt(self, pushes: Sequence[Push]) -> None:
        names = [push.vector for push in pushes]
        strange = sorted(set(names) - set(self.vectors))
        if strange or len(set(names)) != len(names):
            wrong = f"unknown vectors {', '.join(strange)}" if strange else "two pushes with one vector"
            raise VectorError(f"pushes: {wrong}; the bench has {', '.join(sorted(self.vectors))}")
        if self._guard is None:
            raise VectorError("the bench is not in use: enter it with 'with' before steering")
        with warnings.catch_warnings():
            # What vectors that fight do together is what a study may want to know.
            warnings.simplefilter("ignore", VectorsFightWarning)
            self._guard.reload(_policy(pushes))

    def _recalled(
        self, prompts: Sequence[Prompt], pushes: Sequence[Push], write: Callable[[], tuple[Reply, ...]]
    ) -> tuple[Reply, ...]:
        if self._memory is None:
            return write()
        said = [[asdict(push), self.vectors[push.vector].digest] for push in pushes]
        key = ["replies", said, prompts_digest(prompts), self._new_tokens, self._batch_size]
        known = self._memory.get(key)
        if known is not None:
            return tuple(self._reply(ids) for ids in known)
        found = write()
        self._memory.put(key, [list(reply.ids) for reply in found])
        return found

    def _replies(self, prompts: Sequence[Prompt], *, guarded: bool = False) -> tuple[Reply, ...]:
        found: list[Reply] = [Reply((), "")] * len(prompts)
        for places, inputs in self._batches(prompts):
            output = self._generate(inputs, guarded=guarded, tokens=self._new_tokens)
            for place, row in zip(places, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                found[place] = self._reply(self._until_end(row))
        return tuple(found)

    def _reply(self, ids: Sequence[int]) -> Reply:
        return Reply(tuple(ids), self.tokenizer.decode(list(ids), skip_special_tokens=True).strip())

    def _generate(self, inputs: dict[str, Any], *, guarded: bool, tokens: int, **settings: Any) -> Any:
        settings |= {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": self._pad}
        if guarded and self._guard is not None:
            return self._guard.generate(**inputs, **settings)
        # The class's own generate, since a guard stands in the place of the model's.
        return type(self.model).generate(self.model, **inputs, **settings)

    def _batches(self, prompts: Sequence[Prompt]) -> Iterator[tuple[list[int], dict[str, Any]]]:
        rows = [self._ids(prompt) for prompt in prompts]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            width = max(len(rows[place]) for place in places)
            ids = torch.full((len(places), width), self._pad)
            mask = torch.zeros_like(ids)
            for row, place in enumerate(places):
                ids[row, width - len(rows[place]) :] = torch.tensor(rows[place])
                mask[row, width - len(rows[place]) :] = 1
            device = self.model.device
            yield places, {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    def _ids(self, prompt: Prompt) -> list[int]:
        return list(render_chat(self.tokenizer, [dict(turn) for turn in prompt.messages]).input_ids)

    def _until_end(self, ids: list[int]) -> list[int]:
        end = next((place for place, token in enumerate(ids) if token in self._ends), len(ids) - 1)
        return ids[: end + 1]


def _policy(pushes: Sequence[Push]) -> Policy:
    """Return the policy that pushes always; its digest tells settings apart."""
    vectors = tuple(
        VectorSpec(push.vector, use="./in-memory", blocks=push.blocks, positions=push.positions)
        for push in pushes
    )
    steer = tuple(
        SteerSpec(
            push.vector,
            "add" if push.strength >= 0 else "subtract",
            strength=abs(push.strength),
            schedule=push.schedule,
        )
        for push in pushes
    )
    rule = RuleSpec("push", when="step >= 0", steer=steer, observe=not steer)
    said = [asdict(push) for push in pushes]
    blank = Policy(
        name=_PURPOSE, digest="", source=_PURPOSE, classifiers=(), vectors=vectors, flags=(), rules=(rule,)
    )
    return replace(blank, digest=digest_json({"pushes": said}))


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    config = getattr(model, "generation_config", None)
    given = getattr(config, "eos_token_id", None)
    given = tokenizer.eos_token_id if given is None else given
    ends = given if isinstance(given, list | tuple) else [given]
    return frozenset(int(end) for end in ends if end is not None)
