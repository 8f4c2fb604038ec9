"""What of a call's arguments and the model's defaults decides how its rows are read and ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guardsteer.errors import UnsupportedError
from guardsteer.host import check_generation, refuse_compiled
from guardsteer.runtime.generation import Generation
from guardsteer.runtime.halting import Fallback, FallbackSaid
from guardsteer.runtime.kit import Kit

__all__ = ["Settings", "add_halting", "read_settings", "sequences_of"]


@dataclass(frozen=True, slots=True)
class Settings:
    """A call's own: ``config`` is what ``generate`` will go by, ``expansion`` its rows for each prompt."""

    config: Any
    eos: frozenset[int]
    pad: int | None
    expansion: int
    beams: bool


def read_settings(model: Any, kit: Kit, kwargs: Mapping[str, Any]) -> Settings:
    """Return what a call of ``generate`` asks for; ``UnsupportedError`` where it could not be exact."""
    refuse_compiled(model)
    own = {key: value for key, value in kwargs.items() if key != "generation_config"}
    config, _ = model._prepare_generation_config(kwargs.get("generation_config"), **own)
    check_generation(model, kwargs, config)
    eos = config.eos_token_id
    ends = frozenset(() if eos is None else [eos] if isinstance(eos, int) else [int(e) for e in eos])
    pad = config.pad_token_id
    beams = (config.num_beams or 1) > 1
    if beams and kit.halts and not ends:
        raise UnsupportedError(
            "the policy may halt a row, the model has no eos_token_id and beams are asked for: "
            "a halted beam could not end; set eos_token_id or generate without beams"
        )
    return Settings(
        config=config,
        eos=ends,
        pad=int(pad) if pad is not None else None,
        expansion=max(config.num_beams or 1, config.num_return_sequences or 1),
        beams=beams,
    )


def add_halting(kit: Kit, kwargs: dict[str, Any], generation: Generation, settings: Settings) -> None:
    """Let halted rows end with the policy's fallback, behind whatever the caller lets choose tokens."""
    if not kit.halts:
        return
    tokens = kit.fallback
    end = min(settings.eos) if settings.eos else None
    kwargs["logits_processor"] = [*(kwargs.get("logits_processor") or ()), Fallback(generation, tokens, end)]
    if end is None:
        kwargs["stopping_criteria"] = [
            *(kwargs.get("stopping_criteria") or ()),
            FallbackSaid(generation, tokens),
        ]


def sequences_of(output: Any) -> list[list[int]]:
    """Return the token ids that ``generate`` returned, alone or among other things."""
    sequences = output if isinstance(output, Tensor) else output.sequences
    ids: list[list[int]] = sequences.tolist()
    return ids
