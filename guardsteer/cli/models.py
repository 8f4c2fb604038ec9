"""Loading a model for a command: from a folder, or by its id on the Hugging Face hub."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from guardsteer.errors import HostError

__all__ = ["DTYPES", "load_model"]

DTYPES = ("float32", "bfloat16", "float16")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def load_model(name: Path | str, dtype: str | None = None) -> tuple[Any, Any]:
    """Return a model, in evaluation mode, and its tokenizer, padded on the left.

    A folder is read as it lies there; what is no folder but has the form ``owner/name`` is looked up on
    the hub (or in its cache, with HF_HUB_OFFLINE=1). ``dtype``: one of ``DTYPES``; None leaves weights in
    the type they are stored in. Code that a model brings along is never run.
    Raises ``HostError`` that says why it cannot be used.
    """
    local = Path(name).is_dir()
    if not local and not _HUB_ID.fullmatch(str(name)):
        raise HostError(
            f"{name}: no such folder; give the folder that save_pretrained wrote, or a hub id (owner/name)"
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    chosen = {} if dtype is None else {"dtype": dtype}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(name), **options, **chosen)
        tokenizer: Any = AutoTokenizer.from_pretrained(str(name), padding_side="left", **options)
    except Exception as error:  # transformers raises many kinds for what it cannot load
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise HostError(
            f"{name}: transformers cannot load it as a causal language model: {reason}"
        ) from error
    return model.eval(), tokenizer
