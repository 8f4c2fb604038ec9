"""The direction along which a model refuses, chosen by what taking it away and adding it does.

Arditi et al. (2024), Refusal in language models is mediated by a single direction. Candidates are the mean
differences between harmful and harmless requests at the last positions of the prompt, at each block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from guardsteer import __version__
from guardsteer.core.digests import digest_json
from guardsteer.errors import LayoutError, VectorError
from guardsteer.evaluate import reply_losses
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
from guardsteer.lab.capture.capturing import Capture, States
from guardsteer.lab.capture.moments import Sums
from guardsteer.lab.capture.positions import PositionRule
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE, Array, Reading
from guardsteer.lab.extraction.importing import About
from guardsteer.lab.extraction.methods.refusal import RefusalScores, choose_refusal, refusal_score
from guardsteer.lab.pairs.contrast import FEWEST_PAIRS
from guardsteer.lab.pairs.prompts import Prompt, prompts_digest
from guardsteer.steer.artifact import ModelBinding, VectorCard
from guardsteer.steer.strict_json import problems_of
from guardsteer.steer.vectors import Vector, make_vector

__all__ = ["Refusal", "judge_refusal", "openings"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of candidates judged so far and the number to judge."""

_STREAM = ("block_input", "attention", "mlp", "block_output")


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """The vector, the same direction at every block, and what was measured of each candidate.

    ``vector`` and ``chosen`` are None where no candidate will do; ``why_not`` says how close the best came.
    """

    vector: Vector | None
    chosen: RefusalScores | None
    candidates: tuple[RefusalScores, ...]
    why_not: str = ""


def judge_refusal(
    model: Any,
    tokenizer: Any,
    harmful: Sequence[Prompt],
    harmless: Sequence[Prompt],
    refusals: Sequence[str],
    about: About,
    *,
    positions: int = 2,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Refusal:
    """Return the refusal direction of ``model``, if it has one.

    Every other one of ``harmful`` and ``harmless`` makes the directions, the rest judges them. They should
    differ in harm alone: what else differs becomes part of the direction. ``refusals``: how the model's
    refusals begin; an answer that begins as one of them counts as refusing (the paper looks at first tokens,
    which is this with texts of one token). ``positions``: how many of the prompt's last positions to try.
    ``progress`` is told how many candidates were judged, and of how many. Raises ``VectorError`` for fewer
    than 16 requests of a kind and for one that is in both.
    """
    check_model(model)
    _check_requests(harmful, harmless, refusals, positions)
    layout = find_layout(model)
    card = _card(model, tokenizer, about, (harmful, harmless), layout)
    rules = tuple(PositionRule(f"prompt_end-{back}", _nowhere) for back in range(positions))
    capture = Capture(model, tokenizer, layout, outputs_of_blocks(range(layout.n_blocks)), rules, batch_size)
    chats = {side: _chats(tokenizer, asked) for side, asked in ((POSITIVE, harmful), (NEGATIVE, harmless))}
    sums = _sums(capture, chats, positions)
    judge = _Judge(capture, [chats[POSITIVE][1::2], chats[NEGATIVE][1::2]], openings(tokenizer, refusals))
    differences = {key: found.difference() for key, found in sums.items()}
    candidates: list[RefusalScores] = []
    for (point, rule), difference in differences.items():
        candidates.append(judge.scores(point.block, int(rule.rpartition("-")[2]), difference))
        if progress is not None:
            progress(len(candidates), len(differences))
    try:
        chosen = choose_refusal(candidates, layout.n_blocks)
    except VectorError as error:
        return Refusal(None, None, tuple(candidates), str(error))
    place = f"prompt_end-{chosen.position}"
    direction = differences[point_at(chosen.block, "block_output"), place]
    unit = direction / np.linalg.norm(direction)
    norms = [sums[point, place].residual_norm for point in capture.points]
    vector = make_vector(card, directions=np.tile(unit, (len(norms), 1)), residual_norms=norms)
    return Refusal(vector, chosen, tuple(candidates))


def openings(tokenizer: Any, refusals: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the tokens of each text, without those that begin as a shorter one: no answer counts twice."""
    every = {tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in refusals}
    shorter: list[tuple[int, ...]] = []
    for tokens in sorted(every - {()}, key=lambda tokens: (len(tokens), tokens)):
        if all(tokens[: len(known)] != known for known in shorter):
            shorter.append(tokens)
    if not shorter:
        raise VectorError(f"refusals: none of {list(refusals)!r:.80} has a token")
    return shorter


def _check_requests(
    harmful: Sequence[Prompt], harmless: Sequence[Prompt], refusals: Sequence[str], positions: int
) -> None:
    if min(len(harmful), len(harmless)) < 2 * FEWEST_PAIRS or not refusals or positions < 1:
        raise VectorError(
            f"got {len(harmful)} harmful and {len(harmless)} harmless requests, {len(refusals)} refusals and "
            f"{positions} positions, expected at least {2 * FEWEST_PAIRS}, {2 * FEWEST_PAIRS}, 1 and 1"
        )
    sides = [
        {tuple((turn["role"], turn["content"]) for turn in prompt.messages): prompt.text for prompt in side}
        for side in (harmful, harmless)
    ]
    both = sides[0].keys() & sides[1].keys()
    if both:
        said = min(sides[0][one] for one in both)
        raise VectorError(f"{len(both)} requests are both harmful and harmless, such as {said!r:.80}")


def _nowhere(_conversation: object) -> Sequence[int]:
    return ()


def _chats(tokenizer: Any, asked: Sequence[Prompt]) -> list[list[int]]:
    return [
        list(render_chat(tokenizer, [dict(turn) for turn in prompt.messages]).input_ids) for prompt in asked
    ]


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

    def __init__(
        self, capture: Capture, chats: Sequence[list[list[int]]], refusals: Sequence[tuple[int, ...]]
    ) -> None:
        self._capture = capture
        self._harmful, self._harmless = chats
        self._refusals = refusals
        self._clean = self._logits(self._harmless)
        self._points = [
            point
            for block in range(capture.layout.n_blocks)
            for site in _STREAM
            if _has(capture.layout, point := point_at(block, site))  # type: ignore[arg-type]  # one of the sites
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
            bypass = self._log_odds(self._harmful)
            without = self._logits(self._harmless)
        with self._changed([point_at(block, "block_output")], add):
            induce = self._log_odds(self._harmless)
        divergence = _divergence(self._clean, without)
        return RefusalScores(block, position, float(bypass.mean()), float(induce.mean()), divergence)

    def _log_odds(self, chats: Sequence[list[int]]) -> NDArray[np.float64]:
        """Return the log odds that each answer begins as a refusal: ``[row]``."""
        asked = [chat for chat in chats for _ in self._refusals]
        said = [*self._refusals] * len(chats)
        losses = reply_losses(self._capture.model, asked, said, batch_size=self._capture.batch_size)
        found = np.array([-loss.nats for loss in losses]).reshape(len(chats), len(self._refusals))
        return refusal_score(found)

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
    model: Any, tokenizer: Any, about: About, asked: tuple[Sequence[Prompt], Sequence[Prompt]], layout: Layout
) -> VectorCard:
    found = fingerprint(model, tokenizer)
    libraries = {name: version(name) for name in ("torch", "transformers")}
    try:
        return VectorCard(
            name=about.name,
            version=about.version,
            trait=about.trait,
            description=about.description,
            licence=about.licence,
            method="refusal_direction",
            read="last_prompt_token",
            data_digest=digest_json([prompts_digest(side) for side in asked]),
            pairs=min(map(len, asked)),
            blocks=tuple(range(layout.n_blocks)),
            model=ModelBinding(**{part: getattr(found, part) for part in ModelBinding.model_fields}),
            libraries={"guardsteer": __version__, **libraries},
        )
    except ValidationError as error:
        raise VectorError(problems_of(VectorCard, error, f"vector {about.name!r}")) from error
