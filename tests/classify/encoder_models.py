"""Tiny random encoders with a tokenizer of their own, and what transformers computes with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from guardsteer.classify.encoders.files import Manifest, read_manifest
from guardsteer.classify.encoders.writing import write_encoder_classifier
from guardsteer.lab.classifiers.encoders.export import Export, Exporting, export_model

__all__ = ["LONGEST", "TEXTS", "WIDTH", "add_head", "exported", "make_model", "theirs"]

_base: Any = AutoModel  # transformers leaves from_config without types
_classifying: Any = AutoModelForSequenceClassification

WIDTH = 32
LONGEST = 64

TEXTS = (
    "I want my money back",
    "Thanks a lot, that was very kind of you 😀",
    "",
    "Ich möchte bitte die Straße wissen, İstanbul",
    "我想退款 谢谢",
    "tabs\tand\n\nnew lines and  gaps. The end!",
)

_WORDS = [
    "the",
    "a",
    "i",
    "you",
    "my",
    "money",
    "back",
    "thanks",
    "kind",
    "of",
    "was",
    "that",
    "want",
    "very",
    "end",
]
_LETTERS = [chr(code) for code in range(33, 127)]


def _wordpiece() -> Tokenizer:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = dict.fromkeys([*specials, *_WORDS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)])
    tokenizer = Tokenizer(
        models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As sentence-transformers' own files do: reading must not cut what they would.
    tokenizer.enable_truncation(max_length=16)
    tokenizer.enable_padding(length=16)
    return tokenizer


def _bytes() -> Tokenizer:
    """A vocabulary of bytes alone, where many tokens share a character."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: place for place, piece in enumerate(["<pad>", "<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def make_model(
    folder: Path, *, kind: str = "bert", labels: Sequence[str] | None = None, seed: int = 0, **config: Any
) -> PreTrainedModel:
    """Save a random model and its tokenizer as ``save_pretrained`` does; with ``labels`` a classifier."""
    tokenizer = _bytes() if kind == "roberta" else _wordpiece()
    settings: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LONGEST + (1 if kind == "roberta" else 0),
        "pad_token_id": 0,
        # Larger than a fresh model's, so that texts differ clearly.
        "initializer_range": 0.2,
        **config,
    }
    if labels is not None:
        settings |= {
            "id2label": dict(enumerate(labels)),
            "label2id": {name: i for i, name in enumerate(labels)},
        }
    torch.manual_seed(seed)
    loader = _base if labels is None else _classifying
    model: PreTrainedModel = loader.from_config(AutoConfig.for_model(kind, **settings)).eval()
    model.save_pretrained(folder)
    names = ("<pad>", None, "<s>", "</s>") if kind == "roberta" else ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=names[0],
        unk_token=names[1],
        cls_token=names[2],
        sep_token=names[3],
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.save_pretrained(folder)
    return model


def exported(model: Path, out: Path, **settings: Any) -> Export:
    """Export with what tests do not care about filled in."""
    given: dict[str, Any] = {"name": out.name, "texts": TEXTS * 4, **settings}
    config = json.loads((model / "config.json").read_text()) if (model / "config.json").is_file() else {}
    if "labels" not in given and not config.get("id2label"):
        given.setdefault("pooling", "mean")
    return export_model(model, out, Exporting(**given))


def theirs(model: Path, text: str, *, pooling: str = "mean", unit_length: bool = True) -> NDArray[np.float64]:
    """Return the embedding [width] of one text as transformers and torch compute it."""
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    module: Any = AutoModel.from_pretrained(str(model)).eval()
    with torch.no_grad():
        given = tokenizer(text, return_tensors="pt", truncation=False, padding=False)
        hidden = module(**given).last_hidden_state[0]
    pooled = hidden.mean(0) if pooling == "mean" else hidden[0]
    if unit_length:
        pooled = pooled / pooled.norm()
    found: NDArray[np.float64] = pooled.double().numpy()
    return found


def add_head(
    folder: Path, encoder: Path, *, outputs: Sequence[str] = ("score",), seed: int = 0, **card: Any
) -> Manifest:
    """Write a classifier with a random table of weights on an exported encoder."""
    manifest = read_manifest(encoder)
    draw = np.random.default_rng(seed)
    write_encoder_classifier(
        folder,
        manifest,
        outputs=outputs,
        activation="sigmoid" if len(outputs) == 1 else "softmax",
        about={"name": folder.name},
        weight=draw.normal(size=(manifest.width, len(outputs))) * 4,
        bias=draw.normal(size=len(outputs)),
        **card,
    )
    return manifest
