"""What the measurements of cost share: a random model, its tokenizer, classifiers, vectors, policies."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, LogitsProcessor, PreTrainedTokenizerFast

import guardsteer
from guardsteer.classify.probe import Probe
from guardsteer.host import fingerprint
from guardsteer.lab.classifiers.train import About, Example, Settings, train
from guardsteer.steer import Vector, VectorCard, make_vector
from guardsteer.steer.artifact import ModelBinding

__all__ = ["WIDTH", "Saying", "Setting", "known_words", "prompts", "said", "setting"]

WORDS = 31_740
WIDTH = 288
BLOCKS = {"warm": (2, 3), "sharp": (4,)}


def tokenizer() -> Any:
    """Return a byte-level tokenizer with one token for each of 31,740 invented words."""
    draw = random.Random(0)
    onsets, vowels, codas = (
        ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl"],
        "aeiou",
        ["", "n", "r", "s", "t"],
    )
    words: dict[str, None] = {}
    while len(words) < WORDS:
        parts = [
            draw.choice(onsets) + draw.choice(vowels) + draw.choice(codas) for _ in range(draw.randint(1, 3))
        ]
        words["\u0120" + "".join(parts)] = None
    pieces = ["<pad>", "<bos>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    backend = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left"
    )


def model(vocabulary: int) -> Any:
    """Return a random Llama of 15M parameters."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=WIDTH,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    from_config: Any = AutoModelForCausalLM.from_config
    return from_config(config).eval()


def classifiers(folder: Path, texts: list[str]) -> dict[str, Path]:
    """Train three classifiers on labels that depend on a few of the words."""
    kinds = {
        "words": Settings(analyzer="word", ngrams=(1, 2), max_features=20_000, positive="yes"),
        "pieces": Settings(analyzer="char_wb", ngrams=(3, 5), max_features=20_000, positive="yes"),
        "hashed": Settings(
            vectorizer="hashing", analyzer="char_wb", ngrams=(3, 5), max_features=2**16, positive="yes"
        ),
    }
    for place, (name, settings) in enumerate(kinds.items()):
        examples = [
            Example(text, "yes" if text.count("aeiou"[place]) > len(text) / 12 else "no") for text in texts
        ]
        train(examples, settings, About(name, licence="Apache-2.0", sources=("invented",)), folder / name)
    return {name: folder / name for name in kinds}


def policy(folders: dict[str, Path], *, steers: bool) -> str:
    """Return 20 rules over 3 classifiers and a probe; two of them steer where ``steers``."""
    lines = ["guardsteer: 1", "name: cost", "classifiers:"]
    lines += [f"  {name}: {{use: {folder}, on: all}}" for name, folder in folders.items()]
    lines += ["  probe: {use: ./probe, on: all}", "flags:"]
    outputs = [f"{name}.score" for name in folders] + ["probe.score"]
    lines += [
        f"  f{i}: {{signal: {outputs[i % 4]}, enter: 0.7, exit: 0.4, after: {1 + i % 3}}}" for i in range(8)
    ]
    lines += ["vectors:"]
    lines += [f"  {name}: {{use: ./none, blocks: {list(blocks)}}}" for name, blocks in BLOCKS.items()]
    lines += ["rules:"]
    for i, name in enumerate(BLOCKS):
        bound = -1 if steers else 2
        lines.append(
            f"  - {{id: steer{i}, when: words.score > {bound}, add: {{vector: {name}, strength: 0.2}}}}"
        )
    for i in range(18):
        when = f"f{i % 8} && !f{(i + 3) % 8} && {outputs[i % 3]} > 1.5"
        vector = list(BLOCKS)[i % 2]
        lines.append(
            f"  - {{id: r{i}, when: '{when}', priority: {i}, add: {{vector: {vector}, strength: 0.1}}}}"
        )
    return "\n".join(lines)


def pieces(folders: dict[str, Path]) -> dict[str, str]:
    """Return policies of which each has one part more than the one before; no rule of them ever holds."""
    found: dict[str, str] = {}
    named = [f"  {name}: {{use: {folder}, on: all}}" for name, folder in folders.items()]
    probe = "  probe: {use: ./probe, on: all}"
    vectors = [f"  {name}: {{use: ./none, blocks: {list(blocks)}}}" for name, blocks in BLOCKS.items()]
    parts = {"one": named[:1], "two": named[:2], "three": named[:3], "probed": [*named[:3], probe]}
    for name, lines in parts.items():
        signal = "probe.score" if name == "probed" else f"{next(iter(folders))}.score"
        rule = f"rules: [{{id: r, when: {signal} > 2, add: {{vector: sharp, strength: 0.2}}}}]"
        found[name] = "\n".join(
            ["guardsteer: 1", f"name: {name}", "classifiers:", *lines, "vectors:", *vectors, rule]
        )
    return found


STILL = """
guardsteer: 1
name: still
classifiers: {never: {literals: [qqqqqq], on: all}}
vectors: {warm: {use: ./none, blocks: [2, 3]}, sharp: {use: ./none, blocks: [4]}}
rules: [{id: r, when: never.match > 0.5, add: {vector: warm, strength: 0.2}}]
"""


@dataclass(frozen=True)
class Setting:
    """Everything that the measurements share."""

    model: Any
    tokenizer: Any
    vectors: dict[str, Vector]
    probe: Probe
    folder: Path
    policies: dict[str, Path]

    def guard(self, name: str) -> Any:
        """Wrap the model under one of the policies, with an audit on disk."""
        probed = "./probe" in self.policies[name].read_text()
        given = {"probe": self.probe} if probed else {}
        return guardsteer.wrap(
            self.model,
            self.tokenizer,
            policy=self.policies[name],
            vectors=self.vectors,
            classifiers=given,
            audit=self.folder / "audit",
        )

    def twin(self) -> Setting:
        """Return this with a model of its own that shares every weight with the other, and no module."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return replace(self, model=copy.deepcopy(self.model, {id(tensor): tensor for tensor in tensors}))


def setting(folder: Path) -> Setting:
    """Build model, classifiers, probe, vectors and policies."""
    words = tokenizer()
    network = model(len(words))
    draw = random.Random(1)
    texts = [words.decode([draw.randrange(259, len(words)) for _ in range(20)]) for _ in range(1500)]
    folders = classifiers(folder, texts)
    identity = fingerprint(network, words)
    generator = torch.Generator().manual_seed(2)
    vectors = {}
    for name, blocks in BLOCKS.items():
        directions = torch.randn(len(blocks), WIDTH, generator=generator)
        card = VectorCard(
            name=name,
            version="1",
            trait="random",
            description="",
            licence="Apache-2.0",
            method="mean_difference",
            read="assistant_mean",
            data_digest="b3:" + "0" * 64,
            pairs=8,
            blocks=blocks,
            model=ModelBinding(**{part: getattr(identity, part) for part in ModelBinding.model_fields}),
            libraries={},
        )
        unit = directions / directions.norm(dim=-1, keepdim=True)
        vectors[name] = make_vector(
            card, directions=unit.numpy(), residual_norms=np.ones(len(blocks), np.float32)
        )
    probe = Probe(
        name="probe",
        outputs=("score",),
        block=1,
        weight=torch.randn(1, WIDTH, generator=generator),
        bias=torch.zeros(1),
        fingerprint=identity.digest,
        digest="b3:" + "0" * 64,
    )
    full = policy(folders, steers=True)
    texts_of = {"full": full, "idle": policy(folders, steers=False), "still": STILL}
    texts_of["reply"] = full.replace("on: all", "on: generation")
    texts_of |= pieces(folders)
    policies = {}
    for name, text in texts_of.items():
        policies[name] = folder / f"{name}.yaml"
        policies[name].write_text(text)
    return Setting(network, words, vectors, probe, folder, policies)


def prompts(made: Setting, rows: int, tokens: int, seed: int) -> dict[str, Any]:
    """Return random words as a batch."""
    draw = random.Random(seed)
    ids = [[draw.randrange(259, len(made.tokenizer)) for _ in range(tokens)] for _ in range(rows)]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(rows, tokens, dtype=torch.long)}


class Saying(LogitsProcessor):
    """Has a model say given words, whatever it would say: the same ones behind any prompt."""

    def __init__(self, words: Sequence[int], width: int) -> None:
        self._words, self._width = words, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return ``scores: [row, token]`` that leave one choice."""
        said = torch.full_like(scores, -torch.inf)
        said[:, self._words[input_ids.shape[1] - self._width]] = 0.0
        return said


def known_words(made: Setting) -> list[int]:
    """Return the words that the model is made to say, the most frequent first."""
    draw = random.Random(11)
    return [draw.randrange(259, len(made.tokenizer)) for _ in range(300)]


def said(made: Setting, tokens: int, seed: int = 11) -> list[int]:
    """Return words that recur as a language's do, with frequencies that fall as one over the rank."""
    known = known_words(made)
    weights = [1 / rank for rank in range(1, len(known) + 1)]
    return random.Random(seed).choices(known, weights, k=tokens)
