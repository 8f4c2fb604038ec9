"""Loading a model from a local folder for a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from guardsteer.errors import HostError

__all__ = ["load_model"]


def load_model(path: Path) -> tuple[Any, Any]:
    """Return the model in a folder, in evaluation mode, and its tokenizer; nothing is downloaded.

    Raises ``HostError`` that says why the folder cannot be used.
    """
    if not path.is_dir():
        raise HostError(f"{path}: no such folder; give the folder that save_pretrained wrote")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        # A folder must not bring code of its own, and the question whether it may belongs to no command.
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds for a folder that it cannot load
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise HostError(
            f"{path}: transformers cannot load it as a causal language model: {reason}"
        ) from error
    return model.eval(), tokenizer
