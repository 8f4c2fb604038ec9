"""Loading a model for a command: from a folder, or by its id on the Hugging Face hub."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.errors import HostError

if TYPE_CHECKING:
    import argparse

__all__ = ["DTYPES", "add_dtype", "load_model"]

DTYPES = ("float32", "bfloat16", "float16")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_CONFIG = "config.json"


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Add ``--dtype``."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="load the weights as this type, which is part of what vectors are bound to (default: as saved)",
    )


def load_model(name: Path | str, dtype: str | None = None) -> tuple[Any, Any]:
    """Return a model, in evaluation mode, and its tokenizer, padded on the left.

    A folder is read as it lies there; what is no folder but has the form ``owner/name`` is looked up on
    the hub (or in its cache, with HF_HUB_OFFLINE=1). ``dtype`` is one of ``DTYPES``, None the type that was
    saved. Code that a model brings along is never run. Raises ``HostError`` that says why it cannot be used.
    """
    folder = Path(name)
    local = folder.is_dir()
    if local and not (folder / _CONFIG).is_file():
        raise HostError(f"{name}: holds no model ({_CONFIG} is missing){_instead(folder)}")
    if not local and not _HUB_ID.fullmatch(str(name)):
        raise HostError(
            f"{name}: no such folder; give the folder that save_pretrained wrote, or a hub id (owner/name)"
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(name), dtype=dtype or "auto", **options)
        tokenizer: Any = AutoTokenizer.from_pretrained(str(name), padding_side="left", **options)
    except Exception as error:  # transformers raises many kinds for what it cannot load
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        where = "" if local else _looked()
        raise HostError(
            f"{name}: transformers cannot load it as a causal language model: {reason}{where}"
        ) from error
    return model.eval(), tokenizer


def _instead(folder: Path) -> str:
    """Return which folder of a hub cache was meant, "" where this is none."""
    found = sorted(folder.glob(f"snapshots/*/{_CONFIG}"))
    if not found:
        return "; give the folder that save_pretrained wrote"
    return (
        f"; it is a folder of the hub's cache, whose models are in {', '.join(str(p.parent) for p in found)}"
    )


def _looked() -> str:
    """Return where a hub id was looked for."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        return (
            f". It is no folder here; it was looked for on the hub and in its cache, {constants.HF_HUB_CACHE}"
        )
    return (
        ". It is no folder here, and the hub is off (HF_HUB_OFFLINE), so only its cache was looked into, "
        f"{constants.HF_HUB_CACHE}; download it there first, or give a folder"
    )
