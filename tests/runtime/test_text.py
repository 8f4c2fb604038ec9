"""Incremental text equals the tokenizer's own decoding, character by character, and hides nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from guardsteer.runtime.text import TextReader, Vocabulary

SAMPLE = ["the cat naïve 你好 🙂 sat on the mat, don't", "billing and refunds, ünïcödé 日本語 text"]


def trained(kind: str) -> Any:
    if kind == "byte_level":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    elif kind == "pieces":
        vocabulary = [f"<0x{byte:02X}>" for byte in range(256)]
        words = ["\u2581the", "\u2581cat", "\u2581", "a", "b", "c", "t", "h", "e", "n", "o"]
        backend = Tokenizer(
            models.BPE(
                {piece: place for place, piece in enumerate(["<pad>", *vocabulary, *words])},
                [],
                byte_fallback=True,
                unk_token="<pad>",
            )
        )
        backend.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
    else:
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=120, special_tokens=["<pad>", "[UNK]"], show_progress=False
        )
    backend.train_from_iterator(SAMPLE, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token=None)


TOKENIZERS = {kind: trained(kind) for kind in ("byte_level", "pieces", "windowed")}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_kind_of_vocabulary_is_told(kind: str) -> None:
    assert Vocabulary(TOKENIZERS[kind]).kind == kind


@given(st.text(max_size=40))
def test_text_comes_out_whole_whatever_its_tokens_split(text: str) -> None:
    tokenizer = TOKENIZERS["byte_level"]
    ids = tokenizer(text)["input_ids"]
    reader = TextReader(Vocabulary(tokenizer))
    pieces = [reader.push(token) for token in ids]
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@pytest.mark.parametrize("kind", ["byte_level", "pieces"])
@given(data=st.data())
def test_any_tokens_read_as_the_utf8_decoding_of_their_bytes(kind: str, data: st.DataObject) -> None:
    """Broken sequences become U+FFFD; only the bytes of one unfinished character ever wait."""
    tokenizer = TOKENIZERS[kind]
    vocabulary = Vocabulary(tokenizer)
    ids = data.draw(st.lists(st.integers(1, len(tokenizer) - 1), max_size=30))
    reader = TextReader(vocabulary)
    shown, raw = "", b""
    for token in ids:
        shown += reader.push(token)
        raw += vocabulary.bytes_of(token)
        whole = raw.decode(errors="replace")
        assert whole.startswith(shown)
        assert len(whole) - len(shown) <= 3


def test_thousands_of_broken_bytes_hide_nothing_that_follows() -> None:
    """Known way round a guard elsewhere: continuation bytes that make a decoder wait for ever."""
    tokenizer = TOKENIZERS["byte_level"]
    vocabulary = Vocabulary(tokenizer)
    byte = next(t for t in range(len(tokenizer)) if vocabulary.bytes_of(t) == b"\x80")
    reader = TextReader(vocabulary)
    for _ in range(2000):
        assert reader.push(byte) == "\ufffd"
    assert reader.read(tokenizer("bad")["input_ids"]) == "bad"


def test_windowed_vocabularies_follow_the_tokenizers_spacing() -> None:
    tokenizer = TOKENIZERS["windowed"]
    ids = tokenizer("the cat sat on the mat and the cat sat on the mat, on the mat")["input_ids"]
    reader = TextReader(Vocabulary(tokenizer))
    assert reader.read(ids) == tokenizer.decode(ids)


def test_special_tokens_carry_no_text() -> None:
    tokenizer = TOKENIZERS["byte_level"]
    reader = TextReader(Vocabulary(tokenizer))
    assert reader.read([0, *tokenizer("hi")["input_ids"], 0]) == "hi"


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_fork_goes_its_own_way(first: str, second: str) -> None:
    tokenizer = TOKENIZERS["byte_level"]
    reader = TextReader(Vocabulary(tokenizer))
    ids = tokenizer("é" + first)["input_ids"]
    reader.push(ids[0])
    fork = reader.fork()
    assert fork.read(tokenizer("x" + second)["input_ids"]) == "\ufffdx" + second
    assert reader.read(ids[1:]) == "é" + first
