"""A linear probe on a block's output: probabilities from hidden states, on the model's device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guardsteer.classify.files.artifact import read_file, read_tensors
from guardsteer.classify.files.card import Measured, ProbeCard, read_card
from guardsteer.classify.files.graph import WEIGHTS_FILE
from guardsteer.core.digests import digest_json
from guardsteer.errors import BindingError, ClassifierError

if TYPE_CHECKING:
    from guardsteer.host.fingerprint import Fingerprint

__all__ = ["Probe", "Projection", "load_probe"]

_linear: Callable[..., Tensor] = torch.nn.functional.linear

# Far below any state of a model, and far above where the squares of float32 vanish.
_SHORTEST = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """The products of states in float32 with ``weight``: [output, width], on their device."""

    weight: Tensor

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return them, [..., output], for ``hidden`` [..., width]."""
        return _linear(hidden, self.weight)


def _projections(hidden: Tensor, weight: Tensor) -> Tensor:
    return _linear(hidden.to(torch.float32), weight)


def _cosines(hidden: Tensor, weight: Tensor) -> Tensor:
    """A state of length 0 has no direction: its cosine is 0."""
    hidden = hidden.to(torch.float32)
    length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True).clamp(min=_SHORTEST)
    cosines: Tensor = _linear(hidden, weight) / length
    return cosines


class Probe:
    """Probabilities [..., output] from the output of block ``block``; shared by all rows.

    ``weight``: [output, width] and ``bias``: [output], float32. ``fingerprint``: digest of the model
    whose hidden states it was trained on. ``check`` refuses any other. ``measure``: ``projection`` weighs
    the state as it is, ``cosine`` the state at length 1, so that only its direction counts.
    """

    __slots__ = ("_placed", "bias", "block", "digest", "fingerprint", "measure", "name", "outputs", "weight")

    def __init__(
        self,
        *,
        name: str,
        outputs: tuple[str, ...],
        block: int,
        weight: Tensor,
        bias: Tensor,
        fingerprint: str,
        digest: str,
        measure: Measured = "projection",
    ) -> None:
        if weight.shape != (len(outputs), weight.shape[-1]) or bias.shape != (len(outputs),):
            raise ClassifierError(
                f"probe {name}: weight {list(weight.shape)} and bias {list(bias.shape)} do not fit "
                f"{len(outputs)} outputs; expected [output, width] and [output]"
            )
        self.name = name
        self.outputs = outputs
        self.block = block
        self.weight = weight.detach().to(torch.float32)
        self.bias = bias.detach().to(torch.float32)
        self.fingerprint = fingerprint
        self.digest = digest
        self.measure = measure
        self._placed: dict[torch.device, Tensor] = {}

    @property
    def width(self) -> int:
        """Width of the hidden states that it reads."""
        return int(self.weight.shape[1])

    def score(self, hidden: Tensor) -> Tensor:
        """Return the probabilities [..., output] float32 of ``hidden`` [..., width], on its device."""
        return torch.sigmoid(self.logits(hidden))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the log-odds [..., output] float32 of ``hidden`` [..., width], on its device."""
        return self.reader(hidden)(hidden) + self.bias.to(hidden.device)

    def reader(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what makes of ``hidden`` [..., width] the log-odds less ``bias``, [..., output] float32.

        For states of the device and dtype of ``like``. Computed in float32 whatever the model's dtype: small
        bfloat16 products are slow, and their rounding would move scores across thresholds.
        """
        weight = self._placed.get(like.device)
        if weight is None:
            weight = self._placed[like.device] = self.weight.to(like.device)
        if self.measure == "cosine":
            return partial(_cosines, weight=weight)
        # The bias apart: so it is the kernel that a model's own projections have just run, half as long.
        return Projection(weight) if like.dtype is torch.float32 else partial(_projections, weight=weight)

    def check(self, identity: Fingerprint) -> None:
        """Raise ``BindingError`` unless it was trained on the model of this fingerprint."""
        problems = []
        if identity.digest != self.fingerprint:
            problems.append(f"it was trained on the model {self.fingerprint}, this one is {identity.digest}")
        if identity.width != self.width:
            problems.append(f"it reads states of width {self.width}, this model has {identity.width}")
        if self.block >= identity.n_blocks:
            problems.append(f"it reads block {self.block}, this model has {identity.n_blocks} blocks")
        if problems:
            raise BindingError(
                f"probe {self.name} does not fit this model: {'; '.join(problems)}; train a probe on this "
                "model's own hidden states (guardsteer vectors train-probe, or to-probe)"
            )


def load_probe(folder: Path) -> Probe:
    """Return the probe in a folder. Raises ``ClassifierError`` where its files are damaged."""
    card = read_card(folder)
    if not isinstance(card, ProbeCard):
        raise ClassifierError(f"{folder}: expected a probe, this is a classifier of kind {card.kind!r}")
    data = read_file(folder, WEIGHTS_FILE, card.files[WEIGHTS_FILE])
    shape = (len(card.outputs), card.width)
    tensors: dict[str, Any] = read_tensors(
        folder / WEIGHTS_FILE, data, {"weight": (shape, ("float32",)), "bias": (shape[:1], ("float32",))}
    )
    decides = {"kind", "outputs", "block", "files", "fingerprint"}
    if card.measure != "projection":  # the digest of every other probe is as it was
        decides.add("measure")
    return Probe(
        name=card.name,
        outputs=card.outputs,
        block=card.block,
        weight=torch.from_numpy(tensors["weight"].copy()),
        bias=torch.from_numpy(tensors["bias"].copy()),
        fingerprint=card.fingerprint,
        digest=digest_json(card.model_dump(mode="json", include=decides)),
        measure=card.measure,
    )
