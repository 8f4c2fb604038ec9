"""A local Hugging Face model: what it is, checked before it is loaded. Safetensors alone, never pickle."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from guardsteer.core.digests import digest_file, digest_json
from guardsteer.errors import ClassifierError, Problem

__all__ = ["ModelFiles", "Pooling", "find_model", "read_model_files"]

Pooling: TypeAlias = Literal["mean", "cls"]

_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
# What says where a configuration was, not what the model is.
_VOLATILE: Final = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "attn_implementation"}
_POSITIONS: Final = ("max_position_embeddings", "n_positions", "max_seq_len")
_OFFSET_BY_PADDING: Final = {
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "longformer",
    "xmod",
    "data2vec-text",
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's folder. ``pooling`` and ``unit_length`` are None where the folder does not tell.

    ``longest``: how many tokens it takes, special ones included, as far as its files tell. ``weights``:
    digest of the tensors and of the configuration that says what they mean.
    """

    folder: Path
    config: dict[str, Any]
    architecture: str
    pooling: Pooling | None
    unit_length: bool | None
    longest: int | None
    weights: str

    @property
    def classifies(self) -> bool:
        """True for a sequence classifier, which has a head and labels."""
        return self.architecture.endswith("ForSequenceClassification")


def find_model(model: str) -> Path:
    """Return the folder that ``model`` means: a path, or an installed package with a folder ``model``.

    The package is found, not imported. Raises ``ClassifierError`` where there is neither.
    """
    path = Path(model)
    if path.is_dir():
        return path
    if model.isidentifier():
        spec = importlib.util.find_spec(model)
        for place in (spec.submodule_search_locations or []) if spec is not None else []:
            if (Path(place) / "model" / "config.json").is_file():
                return Path(place) / "model"
    raise ClassifierError(
        f"{model!r}: no such folder, and no installed package that holds a folder 'model'; give the folder "
        "of a model as save_pretrained writes it (config.json, model.safetensors, tokenizer.json)"
    )


def read_model_files(folder: Path) -> ModelFiles:
    """Return what a model's folder says. Raises ``ClassifierError`` where it cannot be exported from."""
    config = _json(folder / "config.json")
    tensors = _tensors(folder)
    architectures = config.get("architectures") or [""]
    pooling, unit_length = _sentence_modules(folder)
    kept = {name: value for name, value in config.items() if name not in _VOLATILE}
    return ModelFiles(
        folder=folder,
        config=config,
        architecture=str(architectures[0]),
        pooling=pooling,
        unit_length=unit_length,
        longest=_longest(folder, config),
        weights=digest_json({"config": kept, "tensors": [digest_file(path) for path in tensors]}),
    )


def _tensors(folder: Path) -> list[Path]:
    tensors = sorted(folder.glob("*.safetensors"))
    if tensors:
        return tensors
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        message = f"holds its weights in {', '.join(pickled)} alone, which may run code when it is read"
        hint = "convert it where you trust it: model.save_pretrained(DIR), which writes model.safetensors"
        raise ClassifierError([Problem(str(folder), 0, 0, message, hint)])
    raise ClassifierError([Problem(str(folder), 0, 0, "holds no weights: expected model.safetensors")])


def _sentence_modules(folder: Path) -> tuple[Pooling | None, bool | None]:
    """Return what sentence-transformers' files say of pooling and of length 1."""
    if not (folder / "modules.json").is_file():
        return None, None
    pooling: Pooling | None = None
    unit_length = False
    for kind, place in _modules(folder):
        if kind == "Normalize":
            unit_length = True
        elif kind == "Pooling":
            modes = _json(folder / place / "config.json")
            on = [name for name, value in modes.items() if name.startswith("pooling_mode_") and value is True]
            if on not in (["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
                message = f"pools by {', '.join(on) or 'nothing'}; mean and cls can be exported"
                raise ClassifierError([Problem(str(folder / place / "config.json"), 0, 0, message)])
            pooling = "mean" if on == ["pooling_mode_mean_tokens"] else "cls"
        elif kind != "Transformer":
            message = f"has the module {kind}; Transformer, Pooling and Normalize can be exported"
            raise ClassifierError([Problem(str(folder / "modules.json"), 0, 0, message)])
    return pooling, unit_length


def _modules(folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / "modules.json"
    listed = _json(path, list)
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise ClassifierError([Problem(str(path), 0, 0, "must list modules, each with its type")])
        yield entry["type"].rpartition(".")[2], str(entry.get("path", ""))


def _longest(folder: Path, config: dict[str, Any]) -> int | None:
    found = [config[name] for name in _POSITIONS if isinstance(config.get(name), int)]
    if found and config.get("model_type") in _OFFSET_BY_PADDING:
        # Their positions begin behind the padding token's own.
        padding = config.get("pad_token_id")
        known = isinstance(padding, int) and config["model_type"] != "mpnet"
        found = [found[0] - 1 - (padding if known else 1)]
    sentence = folder / "sentence_bert_config.json"
    if sentence.is_file() and isinstance(length := _json(sentence).get("max_seq_length"), int):
        found.append(length)
    return min(found, default=None)


def _json(path: Path, kind: type = dict) -> Any:
    try:
        value = json.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ClassifierError([Problem(str(path), 0, 0, f"cannot be read: {reason}")]) from error
    if not isinstance(value, kind):
        raise ClassifierError([Problem(str(path), 0, 0, f"must hold a JSON {kind.__name__}")])
    return value
