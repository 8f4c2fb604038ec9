"""A transformer encoder at work: text to tokens, tokens to numbers, through onnxruntime.

Windows go through the graph one by one. A batch would make the numbers of one text hang on the others: by
rounding in float32, and in int8 by the scale of every activation.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from guardsteer.classify.encoders.files import (
    EXTERNAL_FILE,
    GRAPH_FILE,
    TOKENIZER_FILE,
    Manifest,
    check_files,
    read_manifest,
)
from guardsteer.classify.words.recent import Recent
from guardsteer.core.digests import digest_json
from guardsteer.errors import ClassifierError, Problem

__all__ = ["Encoder", "Tokens", "Vector", "open_encoder"]

Vector: TypeAlias = NDArray[np.float32]

_REMEMBERED: Final = 64
_SAMPLE: Final = "a"

Tokens: TypeAlias = tuple[list[int], list[tuple[int, int]]]
"""Token ids of a text without special tokens, and where each lies in it: from character, to character."""


class Encoder:
    """One exported encoder, shared by all classifiers, rows and threads that read with it.

    The numbers of the newest 128 windows are remembered, so that several tables of weights cost one
    reading; two threads that want the same window wait for one run.
    """

    __slots__ = (
        "__weakref__",
        "_lock",
        "_masked",
        "_pending",
        "_pid",
        "_recent",
        "_session",
        "_tokenizer",
        "before",
        "behind",
        "folder",
        "manifest",
    )

    def __init__(self, folder: Path, manifest: Manifest, session: Any, tokenizer: Any) -> None:
        self.folder = folder
        self.manifest = manifest
        self._session = session
        self._tokenizer = tokenizer
        # Graphs of models that make their mask of the tokens do without.
        self._masked = len(session.get_inputs()) > 1
        self._forget()
        encoded = tokenizer.encode(_SAMPLE)
        special = list(encoded.special_tokens_mask)
        own = special.index(0) if 0 in special else len(special)
        # Ids of the special tokens in front of a text and behind it.
        self.before: tuple[int, ...] = tuple(encoded.ids[:own])
        self.behind: tuple[int, ...] = tuple(encoded.ids[own + special[own:].count(0) :])

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._recent: Recent[bytes, Vector] = Recent(_REMEMBERED)
        self._pending: dict[bytes, Future[Vector]] = {}

    @property
    def width(self) -> int:
        """How many numbers it gives for a text."""
        return self.manifest.width

    @property
    def special(self) -> int:
        """How many of a window's tokens are special ones."""
        return len(self.before) + len(self.behind)

    def tokens(self, text: str) -> Tokens:
        """Return the tokens of ``text``, without special ones."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    def vector(self, ids: Sequence[int]) -> Vector:
        """Return the numbers [width] of a text's tokens, to which special ones are added here.

        Raises ``ClassifierError`` where they are more than the encoder takes, or the graph fails.
        """
        window = np.array([[*self.before, *ids, *self.behind]], dtype=np.int64)
        if window.shape[1] > self.manifest.max_tokens:
            raise ClassifierError(
                f"encoder {self.manifest.name}: a window of {window.shape[1]} tokens, at most "
                f"{self.manifest.max_tokens} can be read"
            )
        key = blake3(window.tobytes()).digest()
        if os.getpid() != self._pid:
            # In a fork's child nobody runs what the parent's threads were about.
            self._forget()
        with self._lock:
            found = self._recent.young.get(key)
            if found is None:
                found = self._recent.older(key)
            if found is not None:
                return found
            pending = self._pending.get(key)
            if pending is None:
                own = self._pending[key] = Future[Vector]()
        if pending is not None:
            return pending.result()
        return self._run(key, window, own)

    def _run(self, key: bytes, window: NDArray[np.int64], own: Future[Vector]) -> Vector:
        try:
            vector = self._numbers(window)
        except BaseException as error:
            with self._lock:
                self._pending.pop(key, None)
            own.set_exception(error)
            raise
        with self._lock:
            self._pending.pop(key, None)
            self._recent.put(key, vector)
        own.set_result(vector)
        return vector

    def _numbers(self, window: NDArray[np.int64]) -> Vector:
        feeds = {"input_ids": window}
        if self._masked:
            feeds["attention_mask"] = np.ones_like(window)
        try:
            numbers: NDArray[Any] = self._session.run(None, feeds)[0]
        except Exception as error:
            raise self._error(f"cannot be run by onnxruntime: {error}") from error
        if numbers.shape != (1, self.width) or numbers.dtype != np.float32:
            raise self._error(
                f"gave {numbers.dtype} numbers of the shape {list(numbers.shape)} for one text, "
                f"expected float32 [1, {self.width}]"
            )
        vector: Vector = numbers[0]
        return vector

    def _error(self, message: str) -> ClassifierError:
        return ClassifierError([Problem(str(self.folder / GRAPH_FILE), 0, 0, message)])


_OPEN: weakref.WeakValueDictionary[str, Encoder] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def open_encoder(folder: Path) -> Encoder:
    """Return the encoder in a folder, every file checked against its digest.

    While one of the same content is in use anywhere in the process, that one is returned: its memory is
    that of the model. Raises ``ClassifierError`` where files are missing, damaged, or do not fit.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest.files)
    key = digest_json(manifest.model_dump(mode="json"))
    with _OPENING:
        encoder = _OPEN.get(key)
        if encoder is None:
            encoder = _OPEN[key] = _open(folder, manifest)
        return encoder


def _open(folder: Path, manifest: Manifest) -> Encoder:
    tokenizer = _tokenizer(folder / TOKENIZER_FILE)
    encoder = Encoder(folder, manifest, _session(folder, manifest), tokenizer)
    if encoder.manifest.max_tokens <= encoder.special:
        message = f"adds {encoder.special} special tokens to each text, of {manifest.max_tokens} at most"
        raise ClassifierError([Problem(str(folder / TOKENIZER_FILE), 0, 0, message)])
    encoder.vector(encoder.tokens(_SAMPLE)[0])
    return encoder


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        message = f"is not a tokenizer that the package tokenizers reads: {error}"
        raise ClassifierError([Problem(str(path), 0, 0, message)]) from error
    # Both would lose positions without a word.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _session(folder: Path, manifest: Manifest) -> Any:
    import onnxruntime

    path = folder / GRAPH_FILE
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A graph with its tensors in a second file is found by its path; another must not ask for one.
    source = str(path) if EXTERNAL_FILE in manifest.files else path.read_bytes()
    try:
        session = onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:
        message = f"cannot be loaded by onnxruntime: {error}"
        raise ClassifierError([Problem(str(path), 0, 0, message)]) from error
    inputs = sorted(each.name for each in session.get_inputs())
    if inputs not in (["attention_mask", "input_ids"], ["input_ids"]) or len(session.get_outputs()) != 1:
        message = f"takes {inputs}, expected input_ids and attention_mask, and gives one output"
        raise ClassifierError([Problem(str(path), 0, 0, message)])
    return session
