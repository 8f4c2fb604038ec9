"""The embedded demo: a small chat model for customer support that the repository trained itself.

Importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.errors import AssetError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["load_model", "model_path"]


def model_path() -> Path:
    """Return the folder of the demo model.

    Raises ``AssetError`` if the installation lacks it, or keeps it where no path leads (a zip file).
    """
    folder = Path(str(resources.files("guardsteer.demo").joinpath("model")))
    if not (folder / "config.json").is_file():
        raise AssetError(
            f"{folder}: the demo model is not there (no config.json); install guardsteer unzipped, or train "
            f"the model with: python -m guardsteer.demo.train --out {folder}"
        )
    return folder


def load_model(path: Path | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return the demo model, in float32 on the CPU and in evaluation mode, and its tokenizer.

    ``path`` names another folder made by ``guardsteer.demo.train``.
    """
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = model_path() if path is None else path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    model.eval()
    return model, tokenizer
