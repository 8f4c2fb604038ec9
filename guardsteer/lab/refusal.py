"""The direction along which a model refuses, chosen by what taking it away and adding it does.

Arditi et al. (2024), Refusal in language models is mediated by a single direction. Candidates are the mean
differences between harmful and harmless requests at the last positions of the prompt, at each block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer import __version__
from guardsteer.core.digests import digest_parts
from guardsteer.errors import LayoutError, VectorError
from guardsteer.host import (
    Layout,
    Point,
    attach,
    check_model,
    find_layout,
    fingerprint,
    hooks_at,
    outputs_of_blocks,
    point_at,
    render_chat,
    site_width,
)
from guardsteer.lab.capturing import Capture, States
from guardsteer.lab.contrast import FEWEST_PAIRS
from guardsteer.lab.importing import About
from guardsteer.lab.methods.refusal import RefusalScores, choose_refusal, refusal_score
from guardsteer.lab.moments import Sums
from guardsteer.lab.positions import PositionRule
from guardsteer.lab.readings import NEGATIVE, POSITIVE, Array, Reading
from guardsteer.steer.artifact import ModelBinding, VectorCard
from guardsteer.steer.vectors import Vector, make_vector

__all__ = ["Refusal", "find_refusal"]

_STREAM = ("block_input", "attention", "mlp", "block_output")


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """The vector, the same direction at every block, and what was measured of each candidate."""

    vector: Vector
    chosen: RefusalScores
    candidates: tuple[RefusalScores, ...]


def find_refusal(
    model: Any,
    tokenizer: Any,
    harmful: Sequence[str],
    harmless: Sequence[str],
    refusals: Sequence[str],
    about: About,
    *,
    positions: int = 2,
    batch_size: int = 16,
) -> Refusal:
    """Return the refusal direction of ``model``.

    ``harmful`` and ``harmless`` are what users say; every other one makes the directions, the rest judges
    them. ``refusals``: how the model's refusals begin; their first tokens count as refusing. ``positions``:
    how many of the prompt's last positions to try. Raises ``VectorError`` for fewer than 16 requests of a
    kind, and where no direction bypasses, induces and spares as the paper asks.
    """
    check_model(model)
    if min(len(harmful), len(harmless)) < 2 * FEWEST_PAIRS or not refusals or positions < 1:
        raise VectorError(
            f"got {len(harmful)} harmful and {len(harmless)} harmless requests, {len(refusals)} refusals and "
            f"{positions} positions, expected at least {2 * FEWEST_PAIRS}, {2 * FEWEST_PAIRS}, 1 and 1"
        )
    layout = find_layout(model)
    rules = tuple(PositionRule(f"prompt_end-{back}", _nowhere) for back in range(positions))
    capture = Capture(model, tokenizer, layout, outputs_of_blocks(range(layout.n_blocks)), rules, batch_size)
    chats = {side: _chats(tokenizer, texts) for side, texts in ((POSITIVE, harmful), (NEGATIVE, harmless))}
    sums = _sums(capture, chats, positions)
    tokens = sorted({tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in refusals})
    judge = _Judge(capture, [chats[POSITIVE][1::2], chats[NEGATIVE][1::2]], tokens)
    differences = {key: found.difference() for key, found in sums.items()}
    candidates = tuple(
        judge.scores(point.block, int(rule.rpartition("-")[2]), difference)
        for (point, rule), difference in differences.items()
    )
    chosen = choose_refusal(candidates, layout.n_blocks)
    place = f"prompt_end-{chosen.position}"
    direction = differences[point_at(chosen.block, "block_output"), place]
    unit = direction / np.linalg.norm(direction)
    norms = [sums[point, place].residual_norm for point in capture.points]
    card = _card(model, tokenizer, about, (harmful, harmless), layout)
    vector = make_vector(card, directions=np.tile(unit, (len(norms), 1)), residual_norms=norms)
    return Refusal(vector, chosen, candidates)


def _nowhere(_conversation: object) -> Sequence[int]:
    return ()


def _chats(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return [render_chat(tokenizer, [{"role": "user", "content": text}]).input_ids for text in texts]


def _sums(
    capture: Capture, chats: Mapping[int, list[list[int]]], positions: int
) -> dict[tuple[Point, str], Sums]:
    sums = {
        (point, rule.name): Sums.empty(site_width(capture.layout, point))
        for point in capture.points
        for rule in capture.rules
    }

    def readings() -> Iterator[Reading]:
        for side, rows in chats.items():
            for place, ids in enumerate(rows[::2]):
                last = tuple((max(len(ids) - 1 - back, 0),) for back in range(positions))
                yield Reading(ids, last, side, place % 2, place)

    def add(states: States) -> None:
        sums[states.point, states.rule.name].add(states)

    capture.read(readings(), add)
    return sums


class _Judge:
    """Runs the requests that are left for judging, with a direction taken away or added."""

    def __init__(self, capture: Capture, chats: Sequence[list[list[int]]], tokens: Sequence[int]) -> None:
        self._capture = capture
        self._harmful, self._harmless = chats
        self._tokens = tokens
        self._clean = self._logits(self._harmless)
        self._points = [
            point
            for block in range(capture.layout.n_blocks)
            for site in _STREAM
            if _has(capture.layout, point := point_at(block, site))  # type: ignore[arg-type]
        ]

    def scores(self, block: int, position: int, difference: Array) -> RefusalScores:
        """Return what the direction at ``block`` does; ``difference`` is added at its own length."""
        raw = torch.from_numpy(difference)
        unit = raw / raw.norm()

        def ablate(hidden: torch.Tensor) -> torch.Tensor:
            along = unit.to(hidden.device, hidden.dtype)
            less: torch.Tensor = hidden - (hidden @ along).unsqueeze(-1) * along
            return less

        def add(hidden: torch.Tensor) -> torch.Tensor:
            return hidden + raw.to(hidden.device, hidden.dtype)

        with self._changed(self._points, ablate):
            bypass = refusal_score(self._logits(self._harmful), self._tokens)
            without = self._logits(self._harmless)
        with self._changed([point_at(block, "block_output")], add):
            induce = refusal_score(self._logits(self._harmless), self._tokens)
        divergence = _divergence(self._clean, without)
        return RefusalScores(block, position, float(bypass.mean()), float(induce.mean()), divergence)

    @contextmanager
    def _changed(
        self, points: Sequence[Point], change: Callable[[torch.Tensor], torch.Tensor]
    ) -> Iterator[None]:
        hooks = attach(hooks_at(self._capture.layout, [(point, change) for point in points]))
        try:
            yield
        finally:
            hooks.remove()

    def _logits(self, chats: Sequence[list[int]]) -> NDArray[np.float64]:
        """Return the logits of each answer's first token: ``[row, token]``."""
        found = []
        device = next(self._capture.layout.embedding.parameters()).device
        for first in range(0, len(chats), self._capture.batch_size):
            batch = chats[first : first + self._capture.batch_size]
            longest = max(map(len, batch))
            pad = self._capture.tokenizer.pad_token_id or 0
            ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in batch], device=device)
            lengths = torch.tensor([len(row) for row in batch], device=device)
            mask = (torch.arange(longest, device=device) < lengths[:, None]).long()
            with torch.no_grad():
                logits = self._capture.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            rows = torch.arange(len(batch), device=device)
            found.append(logits[rows, lengths - 1].cpu().double().numpy())
        return np.concatenate(found)


def _has(layout: Layout, point: Point) -> bool:
    try:
        site_width(layout, point)
    except LayoutError:
        return False
    return True


def _divergence(clean: NDArray[np.float64], changed: NDArray[np.float64]) -> float:
    logs = [logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in (clean, changed)]
    return float((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1).mean())


def _card(
    model: Any, tokenizer: Any, about: About, texts: tuple[Sequence[str], Sequence[str]], layout: Layout
) -> VectorCard:
    found = fingerprint(model, tokenizer)
    return VectorCard(
        name=about.name,
        version=about.version,
        trait=about.trait,
        description=about.description,
        licence=about.licence,
        method="refusal_direction",
        read="last_prompt_token",
        data_digest=digest_parts(text.encode() for side in texts for text in side),
        pairs=min(map(len, texts)),
        blocks=tuple(range(layout.n_blocks)),
        model=ModelBinding(**{part: getattr(found, part) for part in ModelBinding.model_fields}),
        libraries={"guardsteer": __version__, **{name: version(name) for name in ("torch", "transformers")}},
    )
