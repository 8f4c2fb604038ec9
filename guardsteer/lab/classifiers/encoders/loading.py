"""A local Hugging Face model loaded for export: its module, its tokenizer's file, its labels."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from guardsteer.classify.activation import Activation
from guardsteer.classify.encoders.files import TOKENIZER_FILE
from guardsteer.errors import ClassifierError, Problem
from guardsteer.lab.classifiers.encoders.model_files import ModelFiles, Pooling

__all__ = ["Exported", "activation_of", "load_module", "outputs_of_labels", "tokenizer_bytes"]

_UNNAMED = re.compile(r"[^A-Za-z0-9_]+")
_UNUSED: Final = ("pooler.",)
_VOCABULARIES: Final = (
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_TRIED: Final = ("Can it be read? Ça va, 你好 — 100% 😀", "two\n\nlines\tand  gaps ", "UPPER and lower")


class Exported(nn.Module):
    """What the graph computes: token ids and mask [row, token] to numbers [row, width].

    ``pooling`` None: the model's logits. ``mean``: over all tokens of a text, special ones included.
    """

    def __init__(self, model: nn.Module, pooling: Pooling | None, *, unit_length: bool) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.unit_length = unit_length

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the numbers of each row."""
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        if self.pooling is None:
            logits: Tensor = found.logits
            return logits
        hidden: Tensor = found.last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weight = attention_mask[..., None].to(hidden.dtype)
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        return nn.functional.normalize(pooled, dim=-1) if self.unit_length else pooled


def load_module(files: ModelFiles, pooling: Pooling | None, *, unit_length: bool) -> Exported:
    """Return the model of a folder in float32, ready to be traced; nothing is fetched, no code of its runs.

    Raises ``ClassifierError`` where ``transformers`` does not load it, or tensors are missing.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    loader: Any = AutoModelForSequenceClassification if files.classifies else AutoModel
    try:
        model, told = loader.from_pretrained(
            str(files.folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        raise ClassifierError([Problem(str(files.folder), 0, 0, f"cannot be loaded: {error}")]) from error
    missing = sorted(
        name for name in told["missing_keys"] if files.classifies or not name.startswith(_UNUSED)
    )
    if missing:
        message = f"lacks the tensors {', '.join(missing[:5])}: they would be random numbers"
        raise ClassifierError([Problem(str(files.folder), 0, 0, message)])
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    # The exporter puts the module back into the mode that it finds, with everything inside.
    return Exported(model, pooling, unit_length=unit_length).eval()


def tokenizer_bytes(folder: Path, vocabulary: int) -> bytes:
    """Return the model's ``tokenizer.json``, as it is or made of the files that there are.

    ``vocabulary``: how many tokens the model knows.

    Raises ``ClassifierError`` where there is none, or it gives what the model would not be given.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    path = folder / TOKENIZER_FILE
    hint = "the model's own tokenizer must be beside it: tokenizer.json, or what it is made of"
    if not any((folder / name).is_file() for name in (TOKENIZER_FILE, *_VOCABULARIES)):
        # transformers would make an empty one.
        raise ClassifierError([Problem(str(path), 0, 0, "cannot be read: there is no such file", hint)])
    try:
        theirs = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        data = path.read_bytes() if path.is_file() else theirs.backend_tokenizer.to_str().encode()
        ours = Tokenizer.from_str(data.decode())
    except Exception as error:
        message = f"no tokenizer can be loaded: {str(error).splitlines()[0] if str(error) else error!r}"
        raise ClassifierError([Problem(str(path), 0, 0, message, hint)]) from error
    ours.no_truncation()
    ours.no_padding()
    for text in _TRIED:
        expected = theirs(text, truncation=False)
        if ours.encode(text).ids != list(expected["input_ids"]):
            message = "gives other tokens than transformers does with this folder"
            raise ClassifierError([Problem(str(path), 0, 0, message, hint)])
        if any(expected.get("token_type_ids") or ()):
            message = "marks a single text with token types other than 0, which is not exported"
            raise ClassifierError([Problem(str(path), 0, 0, message)])
    if ours.get_vocab_size() > vocabulary:
        message = f"knows {ours.get_vocab_size()} tokens, and the model {vocabulary}"
        raise ClassifierError([Problem(str(path), 0, 0, message, hint)])
    return data


def activation_of(files: ModelFiles, labels: int) -> Activation:
    """Return how a sequence classifier's logits become probabilities, as its configuration says.

    Raises ``ClassifierError`` for a regression, whose number is no probability.
    """
    kind = files.config.get("problem_type")
    if kind == "multi_label_classification":
        return "sigmoid"
    if kind == "regression" or (kind is None and labels == 1):
        message = "problem_type: its one number is a regression's and no probability"
        hint = "say --activation sigmoid where it is a log-odds"
        raise ClassifierError([Problem(str(files.folder / "config.json"), 0, 0, message, hint)])
    return "softmax"


def outputs_of_labels(labels: Sequence[str], given: Sequence[str] | None) -> tuple[str, ...]:
    """Return names of outputs for a model's labels: those ``given``, or the labels made fit for a policy.

    Raises ``ClassifierError`` where they are too few or many, or two are the same.
    """
    if given is not None and len(given) != len(labels):
        raise ClassifierError(
            f"--labels: got {len(given)} ({', '.join(given)}), the model has {len(labels)}: "
            f"{json.dumps(list(labels), ensure_ascii=False)}"
        )
    names = [_UNNAMED.sub("_", label).strip("_") for label in given or labels]
    names = [f"label_{name}" if name[:1].isdigit() else name for name in names]
    if not all(names) or len(set(names)) != len(names):
        raise ClassifierError(
            f"the labels {json.dumps(list(given or labels), ensure_ascii=False)} make the outputs "
            f"{', '.join(name or '(nothing)' for name in names)}: give distinct names with --labels"
        )
    return tuple(names)
