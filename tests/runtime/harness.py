"""A tiny tokenizer, scripted classifiers and vectors, and a reference decoder of its own code.

The reference keeps no cache and no state: for each token it decides every position from the text up
to there, runs the whole sequence through hooks that add what was decided, and takes the best token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from guardsteer.host import fingerprint
from guardsteer.steer import Recommendation, Vector, VectorCard, make_vector
from guardsteer.steer.artifact import ModelBinding
from tests.models import PAD, VOCABULARY, WIDTH, tiny

SPECIAL = (0, 1, 2)
"""Tokens that tests keep a model from choosing, where rows must all be equally long."""

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def byte_tokenizer() -> Any:
    """Return a tokenizer with one token for each of the bytes 0 to 124, after pad, bos and eos."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=_byte)
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    vocabulary.update({character: 3 + place for place, character in enumerate(alphabet[: VOCABULARY - 3])})
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left"
    )


def chat_folder(folder: Path) -> Path:
    """Save a tiny model with the tokenizer of bytes and a chat template; return ``folder``."""
    tiny("llama").save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def _byte(character: str) -> int:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [value for value in range(256) if value not in printable]
    return ord(character) if ord(character) in printable else rest[ord(character) - 256]


@dataclass
class LastCharacters:
    """A classifier that scores the last two characters, to make flags go up and down often."""

    seed: int
    outputs: tuple[str, ...] = ("score",)
    digest: str = "b3:test"

    def start(self) -> LastState:
        return LastState(self.seed)


class LastState:
    def __init__(self, seed: int, text: str = "") -> None:
        self.seed = seed
        self.text = text

    def push(self, text: str) -> None:
        self.text += text

    def scores(self) -> Sequence[float]:
        return (score_of(self.seed, self.text),)

    def fork(self) -> LastState:
        return LastState(self.seed, self.text)


def score_of(seed: int, text: str) -> float:
    """Return a number in [0, 1] that depends on the last two characters."""
    return (sum(ord(c) * (seed + 3 + 5 * place) for place, c in enumerate(text[-2:])) % 11) / 10


def random_vector(model: Any, tokenizer: Any, name: str, blocks: Sequence[int], seed: int) -> Vector:
    """Return a vector of random directions that is bound to ``model``."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(len(blocks), WIDTH, generator=generator)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    identity = fingerprint(model, tokenizer)
    card = VectorCard(
        name=name,
        version="1",
        trait="test",
        description="random",
        licence="Apache-2.0",
        method="mean_difference",
        read="assistant_mean",
        data_digest="b3:" + "0" * 64,
        pairs=8,
        blocks=tuple(blocks),
        model=ModelBinding(**{part: getattr(identity, part) for part in ModelBinding.model_fields}),
        recommended=Recommendation(blocks=tuple(blocks), low=0.1, recommended=0.5, high=2.0),
        libraries={},
    )
    return make_vector(
        card, directions=directions.numpy(), residual_norms=np.full(len(blocks), 5.0, np.float32)
    )


Decide = Callable[[str, list[str], list[list[float]]], list[tuple[float, ...]]]
"""From the prompt's text, the generated text after each step and the probe's score at each step (in one
list for each step), the strengths of every vector at every step from 0 on."""


@dataclass(frozen=True)
class Reference:
    """Decodes one row greedily, steered as ``decide`` says; ``positions`` masks each vector."""

    model: Any
    tokenizer: Any
    vectors: Sequence[Vector]
    positions: Sequence[frozenset[str]]
    decide: Decide
    probe: tuple[int, Tensor] | None = None

    def strengths(self, prompt: list[int], written: list[int]) -> list[tuple[float, ...]]:
        """Return the strengths of every position of ``prompt + written``."""
        steps = self.decide(
            self.tokenizer.decode(prompt, skip_special_tokens=True),
            [self.tokenizer.decode(written[:n], skip_special_tokens=True) for n in range(len(written) + 1)],
            [],
        )
        rows: list[tuple[float, ...]] = []
        for position in range(len(prompt) + len(written)):
            step = max(position - len(prompt) + 1, 0)
            kinds = {"all"}
            if position == len(prompt) - 1:
                kinds.add("last_prompt_token")
            if position >= len(prompt):
                kinds.add("generated")
            rows.append(
                tuple(
                    s if kinds & wanted else 0.0
                    for s, wanted in zip(steps[step], self.positions, strict=True)
                )
            )
        return rows

    def logits(self, prompt: list[int], written: list[int]) -> Tensor:
        """Return the logits after ``prompt + written``, ``[token]``."""
        rows = self.strengths(prompt, written)
        with steered(self.model, self.vectors, rows), torch.no_grad():
            output = self.model(input_ids=torch.tensor([prompt + written]), use_cache=False)
        last: Tensor = output.logits[0, -1]
        return last

    def generate(self, prompt: list[int], tokens: int, end: int | None = None) -> list[int]:
        """Return ``tokens`` greedy tokens, fewer where ``end`` comes."""
        written: list[int] = []
        while len(written) < tokens:
            logits = self.logits(prompt, written)
            logits[list(SPECIAL)] = -torch.inf
            written.append(int(logits.argmax()))
            if written[-1] == end:
                break
        return written


@contextmanager
def steered(model: Any, vectors: Sequence[Vector], rows: Sequence[tuple[float, ...]]) -> Iterator[None]:
    """Add, at each position, each vector at its strength (in units of its norm)."""
    from guardsteer.host import find_layout

    handles = []
    blocks = find_layout(model).blocks
    for block in sorted({b for vector in vectors for b in vector.blocks}):
        delta = torch.zeros(len(rows), WIDTH)
        for place, strengths in enumerate(rows):
            for strength, vector in zip(strengths, vectors, strict=True):
                if block in vector.blocks:
                    push = torch.tensor(vector.direction(block)) * vector.residual_norm(block)
                    delta[place] += strength * push

        def add(_: Any, __: Any, output: Any, delta: Tensor = delta) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            moved = hidden + delta.to(hidden.dtype)
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        handles.append(blocks[block].register_forward_hook(add))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


POLICY = """
guardsteer: 1
name: scripted
classifiers:
  asked: {use: ./none, on: prompt}
  said: {use: ./none, on: generation}
flags:
  up: {signal: said.score, enter: 0.6, exit: 0.3}
vectors:
  one: {use: ./none, positions: [last_prompt_token, generated]}
  two: {use: ./none, positions: [generated]}
  three: {use: ./none, positions: [all]}
rules:
  - id: push
    when: up
    add: {vector: one, strength: 0.8}
  - id: pull
    when: said.score >= 0.4
    subtract: {vector: two, strength: 0.5}
  - id: whole
    when: asked.score >= 0.5
    add: {vector: three, strength: 0.3}
"""
BLOCKS = {"one": (1, 2), "two": (2,), "three": (0, 3)}
POSITIONS = (frozenset({"last_prompt_token", "generated"}), frozenset({"generated"}), frozenset({"all"}))


def decide_scripted(prompt: str, written: list[str], _: list[list[float]]) -> list[tuple[float, ...]]:
    """Decide ``POLICY`` anew from the text alone."""
    up = False
    steps: list[tuple[float, ...]] = []
    three = 0.3 if prompt and score_of(2, prompt) >= 0.5 else 0.0
    for text in written:
        score = score_of(1, text) if text else 0.0
        up = score >= 0.3 if up else score >= 0.6
        steps.append((0.8 if up else 0.0, -0.5 if score >= 0.4 else 0.0, three))
    return steps


@dataclass(frozen=True)
class Bench:
    """A tiny model with its tokenizer, scripted classifiers, vectors and reference."""

    model: Any
    tokenizer: Any
    vectors: Mapping[str, Vector]
    classifiers: Mapping[str, LastCharacters]
    reference: Reference


def bench(architecture: str, seed: int = 0, *, template: str | None = None, **changes: Any) -> Bench:
    """Build all that a test of ``POLICY`` needs."""
    model = tiny(architecture, seed, **changes)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    vectors = {
        name: random_vector(model, tokenizer, name, blocks, seed + place)
        for place, (name, blocks) in enumerate(BLOCKS.items())
    }
    return Bench(
        model,
        tokenizer,
        vectors,
        {"asked": LastCharacters(2), "said": LastCharacters(1)},
        Reference(model, tokenizer, list(vectors.values()), POSITIONS, decide_scripted),
    )


def policy_file(folder: Path, text: str = POLICY) -> Path:
    """Write a policy and return its path."""
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


def batch(prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Pad prompts on the left; ``input_ids`` and ``attention_mask``, ``[row, column]``."""
    width = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[PAD] * (width - len(p)) + list(p) for p in prompts]),
        "attention_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
    }
