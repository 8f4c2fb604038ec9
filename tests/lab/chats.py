"""A byte-level chat tokenizer and contrast pairs for tiny random models."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from guardsteer.lab.pairs.contrast import ContrastPair, Recipe, Side, Split
from tests.models import tiny

__all__ = ["ALL", "VOCABULARY", "chat_model", "chat_tokenizer", "pairs", "recipe"]

_SPECIAL = ("<pad>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>")
VOCABULARY = len(_SPECIAL) + 256
ALL = Split(extraction=100, tuning=0, test=0)

_TEMPLATE = (
    "<bos>{% for m in messages %}<{{ m['role'] }}>"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<eos>{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_WORDS = ("tea", "a parcel", "my invoice", "rain", "the blue door", "a train to the coast", "it")


def chat_tokenizer(**settings: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each byte, roles as special tokens and a generation mask."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=list(_SPECIAL[3:]),
        **settings,
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def chat_model(name: str = "llama", **changes: Any) -> Any:
    """Return a tiny random model for ``chat_tokenizer``."""
    return tiny(name, **{"vocab_size": VOCABULARY, **changes})


def pairs(
    count: int = 12, *, positive: str = "How nice, ", negative: str = "Noted: "
) -> tuple[ContrastPair, ...]:
    """Return pairs of many lengths whose sides have a reply and a system line each."""
    found = []
    for index in range(count):
        topic = " and ".join(_WORDS[: 1 + index % len(_WORDS)])
        found.append(
            ContrastPair(
                id=f"pair-{index}",
                messages=({"role": "user", "content": f"Number {index}: what about {topic}?"},),
                positive=Side(reply=f"{positive}{topic}.", system="Be kind."),
                negative=Side(reply=f"{negative}{topic} it is.", system="Be brief and cold."),
            )
        )
    return tuple(found)


def recipe(made: tuple[ContrastPair, ...] | None = None, **changes: Any) -> Recipe:
    """Return a recipe in memory, all of it for extraction unless ``split`` says otherwise."""
    fields: dict[str, Any] = {
        "name": "warmth",
        "trait": "The answer is warm.",
        "licence": "Apache-2.0",
        "read": "assistant_mean",
        "pairs": pairs() if made is None else made,
        "split": ALL,
    }
    return Recipe(**{**fields, **changes})
