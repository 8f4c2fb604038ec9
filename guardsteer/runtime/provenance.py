"""What a record must say so that a call of ``generate`` can be made again; read once for each call."""

from __future__ import annotations

import platform
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from guardsteer.core.events import Setting
from guardsteer.runtime.ending import limit_of

__all__ = ["Call", "Surroundings", "call_of", "settings_of", "surroundings_of", "unrecorded_in"]

_LIBRARIES = ("guardsteer", "torch", "transformers", "tokenizers", "onnxruntime")
_ALWAYS = (
    *("do_sample", "num_beams", "num_return_sequences", "max_new_tokens"),
    *("temperature", "top_k", "top_p", "repetition_penalty"),
)
# What a call returns beside its tokens, and what says where a configuration came from.
_WITHOUT_EFFECT = ("output_", "return_dict", "_", "transformers_version")
_RECORDED_ELSEWHERE = ("inputs", "input_ids", "attention_mask", "generation_config", "streamer", "tokenizer")
_MOST_ITEMS = 4_096


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a model computes with: versions by library, device, kind of attention, threads of the CPU.

    ``kernels`` is what else chooses among a library's kernels, by name.
    """

    versions: Mapping[str, str]
    device: str
    attention: str
    threads: int
    kernels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of ``generate`` as its rows' records tell it; see ``RequestStarted``."""

    id: str
    rows: int
    width: int
    settings: Mapping[str, Setting]
    seed: int | None
    rng: str
    unrecorded: tuple[str, ...]

    def beside(self) -> Call:
        """Return the same call as a candidate's records tell it: how it is made is told elsewhere."""
        return replace(self, settings={}, seed=None, rng="", unrecorded=())


def surroundings_of(model: Any) -> Surroundings:
    """Return what a model computes with now."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    # Its build too, which the package's own version may leave out.
    versions["torch"] = str(torch.__version__)
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    attention = getattr(model.config, "_attn_implementation", None)
    kernels = _kernels_on(devices)
    return Surroundings(versions, " ".join(devices), str(attention or ""), torch.get_num_threads(), kernels)


def _kernels_on(devices: Iterable[str]) -> dict[str, str]:
    """Return the processors of ``devices`` and the settings of torch that choose among their kernels."""
    found = {"processor": torch.backends.cpu.get_cpu_capability()}
    names = [torch.cuda.get_device_name(device) for device in devices if device.startswith("cuda")]
    if names:
        found["gpu"] = ", ".join(names)
    found["float32 products"] = torch.get_float32_matmul_precision()
    if torch.are_deterministic_algorithms_enabled():
        found["algorithms"] = "deterministic"
    return found


def call_of(model: Any, config: Any, kwargs: Mapping[str, Any], *, rows: int, width: int) -> Call:
    """Return what to record of a call whose whole configuration is ``config``, before it has begun."""
    settings, too_much = settings_of(model, config, kwargs, width)
    seed, rng = _randomness(model.device) if config.do_sample else (None, "")
    unrecorded = tuple(sorted({*unrecorded_in(config, kwargs), *too_much}))
    return Call(secrets.token_hex(8), rows, width, settings, seed, rng, unrecorded)


def settings_of(
    model: Any, config: Any, kwargs: Mapping[str, Any], width: int
) -> tuple[dict[str, Setting], list[str]]:
    """Return the settings that make ``generate`` do the same, and the names of those that are too much.

    Those that somebody set, or that are not the default; ``max_new_tokens`` stands for a ``max_length``.
    """
    defaults = _defaults(config)
    given = [kwargs.get("generation_config"), getattr(model, "generation_config", None)]
    said = {*_ALWAYS, *kwargs, *(name for one in given for name in _set(one))}
    settings: dict[str, Setting] = {}
    too_much: list[str] = []
    for name, value in vars(config).items():
        told = name in said or (value is not None and value != defaults.get(name))
        if not told or name.startswith(_WITHOUT_EFFECT):
            continue
        try:
            settings[name] = _as_json(value, [_MOST_ITEMS])
        except ValueError:
            too_much.append(name)
    if (limit := limit_of(model, config, kwargs, width)) > 0:
        settings["max_new_tokens"] = limit
        settings.pop("max_length", None)
    return settings, too_much


def unrecorded_in(config: Any, kwargs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of arguments that have an effect, and that are neither settings nor the prompt."""
    for name, value in kwargs.items():
        empty = value is None or value is False or (isinstance(value, list | tuple) and not value)
        if empty or name in _RECORDED_ELSEWHERE or name.startswith(_WITHOUT_EFFECT) or hasattr(config, name):
            continue
        yield name


def _defaults(config: Any) -> Mapping[str, Any]:
    # transformers keeps them apart from the configuration; without them every setting is told.
    find: Callable[[], Any] = getattr(config, "_get_default_generation_params", dict)
    found = find()
    return found if isinstance(found, Mapping) else {}


def _set(config: Any) -> Iterator[str]:
    return (name for name, value in (vars(config) if config is not None else {}).items() if value is not None)


def _as_json(value: Any, left: list[int]) -> Setting:
    """Return a setting as JSON holds it; ``ValueError`` if it cannot, or for more than ``left`` items."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Tensor):
        return _as_json(value.tolist(), left)
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(item, left) for item in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _as_json(item, left) for key, item in value.items()}
        return [_as_json(pair, left) for pair in value.items()]
    if callable(getattr(value, "to_dict", None)):
        return _as_json(value.to_dict(), left)
    raise ValueError


def _randomness(device: torch.device) -> tuple[int | None, str]:
    """Return the seed of a device's generator if nothing was drawn since it was set, else its state."""
    generator = _generator(device)
    if generator is None:
        return None, ""
    state, seed = generator.get_state(), generator.initial_seed()
    fresh = torch.Generator(device=generator.device).manual_seed(seed).get_state()
    if torch.equal(state, fresh):
        return seed, ""
    return None, b64encode(state.numpy().tobytes()).decode()


def _generator(device: torch.device) -> torch.Generator | None:
    """Return the generator that sampling on ``device`` draws from, None where torch does not show it."""
    if device.type == "cpu":
        return torch.default_generator
    if device.type == "cuda":
        generators: tuple[torch.Generator, ...] = torch.cuda.default_generators
        return generators[device.index if device.index is not None else torch.cuda.current_device()]
    return None
