"""Who is within a rollout: a hash of one of the request's keys decides, the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blake3 import blake3

from guardsteer.core.policy import Binding, Mode

__all__ = ["in_shadow", "is_within", "may_enforce", "mode_of"]

_WHOLE = 1 << 64


def is_within(value: str, percent: float, salt: str = "") -> bool:
    """Return whether ``value`` is among the first ``percent`` percent of all values.

    Its place is the first 8 bytes of BLAKE3 over salt, a zero byte and value (both UTF-8), as a
    big-endian number, out of 2**64. So whoever is within stays so while ``percent`` grows; another salt
    draws others.
    """
    text = f"{salt}\0{value}".encode("utf-8", "surrogatepass")
    # Numbers of any size compare exactly, so that 100 percent are everybody and 0 nobody.
    return int.from_bytes(blake3(text).digest(length=8), "big") * 100 < percent * _WHOLE


def mode_of(binding: Binding, request: str, context: Mapping[str, object]) -> tuple[Mode, str]:
    """Return the mode in which a policy bound like this treats a request, and the arm that it is in.

    ``request`` is the request's id, ``context`` its keys. A request without the key that the rollout goes
    by is not within.
    """
    key = binding.by.partition(".")[2]
    value = request if key == "request" else context.get(key)
    if isinstance(value, str) and is_within(value, binding.percent, binding.salt):
        return binding.mode, binding.arm
    return binding.otherwise, binding.other_arm


def may_enforce(binding: Binding) -> bool:
    """Return whether a policy bound like this acts on any request at all."""
    modes = (binding.mode if binding.percent > 0 else "off", binding.otherwise)
    return "enforce" in modes


def in_shadow(binding: Binding) -> Binding:
    """Return the binding for the same requests, with nothing enforced."""
    mode: Mode = "shadow" if binding.mode == "enforce" else binding.mode
    otherwise: Mode = "shadow" if binding.otherwise == "enforce" else binding.otherwise
    return replace(binding, mode=mode, otherwise=otherwise)
