"""Train a toy sparse autoencoder on the demo model's states, so that the path for SAE features is real.

``python -m benchmarks.toy_sae --out DIR [--block 3] [--features 640] [--active 16] [--steps 1500]``.

A TopK autoencoder (Gao et al., 2024) on the residual stream after one block, over all tokens but the first of
dialogues in training wordings. ``DIR`` gets ``sae_weights.safetensors`` and ``cfg.json`` in the layout of
SAELens: ``W_enc`` ``[width, feature]``, ``W_dec`` ``[feature, width]`` with unit rows, ``b_enc``, ``b_dec``.
A toy in size, data and training: it shows that the path works, not what good features do.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from guardsteer.demo import load_model
from guardsteer.demo.corpus.tickets import draw_tickets
from guardsteer.host import find_layout, point_at, render_chat
from guardsteer.lab.capture.capturing import Capture, States
from guardsteer.lab.capture.positions import GENERATED_TOKENS
from guardsteer.lab.capture.readings import POSITIVE, Reading

DIALOGUES = 1200
HELD_OUT_SHARE = 0.1
BATCH = 1024
SEED = 5_501


@dataclass(frozen=True, slots=True)
class Quality:
    """On states that it was not trained on.

    ``explained``: share of the variance that it rebuilds. ``dead``: share of features that never fire.
    """

    states: int
    explained: float
    dead: float
    seconds: float


def states_of(model: Any, tokenizer: Any, block: int, dialogues: int) -> Tensor:
    """Return the states after ``block`` at all tokens but the first: ``[state, width]`` float32."""
    layout = find_layout(model)
    capture = Capture(model, tokenizer, layout, (point_at(block, "block_output"),), (GENERATED_TOKENS,), 32)

    def readings() -> Iterator[Reading]:
        for place, ticket in enumerate(draw_tickets(dialogues, SEED)):
            turns = [{**turn} for turn in ticket.messages]
            turns.append({"role": "assistant", "content": ticket.reply})
            ids = render_chat(tokenizer, turns, add_generation_prompt=False).input_ids
            yield Reading(ids, (range(1, len(ids)),), POSITIVE, place % 2, place)

    found: list[np.ndarray] = []

    def keep(states: States) -> None:
        found.append(states.values.astype(np.float32))

    capture.read(readings(), keep)
    return torch.from_numpy(np.concatenate(found))


def train(states: Tensor, features: int, active: int, steps: int) -> tuple[dict[str, Tensor], Quality]:
    """Return the weights, for states as they are, and how well they rebuild states that were left out."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(SEED)
    states = states[torch.randperm(len(states), generator=generator)]
    left_out = int(HELD_OUT_SHARE * len(states))
    test, used = states[:left_out], states[left_out:]
    centre = used.mean(0)
    scale = (used - centre).norm(dim=1).mean() / states.shape[1] ** 0.5
    used = (used - centre) / scale
    decoder = torch.nn.functional.normalize(
        torch.randn(features, states.shape[1], generator=generator), dim=1
    )
    weights = {"W_enc": decoder.T.clone(), "W_dec": decoder, "b_enc": torch.zeros(features)}
    for weight in weights.values():
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights.values(), lr=2e-3)
    for step in range(steps):
        batch = used[torch.randint(len(used), (BATCH,), generator=generator)]
        loss = (_rebuilt(weights, batch, active) - batch).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, 2.0 * (1.0 - step / steps))
        optimizer.step()
        with torch.no_grad():
            weights["W_dec"] /= weights["W_dec"].norm(dim=1, keepdim=True)
    saved = {name: weight.detach().clone() for name, weight in weights.items()}
    # Folded in, so that the weights take raw states and give features in the states' own length.
    saved["b_enc"] = scale * saved["b_enc"] - centre @ saved["W_enc"]
    saved["b_dec"] = centre
    codes = activations(saved, test, active)
    rest = (test - codes @ saved["W_dec"] - saved["b_dec"]).square().sum()
    explained = 1.0 - float(rest / (test - test.mean(0)).square().sum())
    dead = float((codes == 0).all(0).float().mean())
    return saved, Quality(len(states), explained, dead, time.perf_counter() - started)


def activations(weights: dict[str, Tensor], states: Tensor, active: int) -> Tensor:
    """Return the features of states, ``[state, feature]``: the ``active`` largest, all others zero."""
    return _largest(states @ weights["W_enc"] + weights["b_enc"], active)


def save(folder: Path, weights: dict[str, Tensor], block: int, active: int) -> Path:
    """Write weights and configuration, and return the path of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sae_weights.safetensors"
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path)
    features, width = weights["W_dec"].shape
    told = {
        "architecture": "topk",
        "d_in": width,
        "d_sae": features,
        "k": active,
        "dtype": "float32",
        "metadata": {"hook_name": f"blocks.{block}.hook_resid_post", "hook_layer": block},
    }
    (folder / "cfg.json").write_text(json.dumps(told, indent=1) + "\n")
    return path


def main() -> None:
    """Train, save and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.toy_sae", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--block", type=int, default=3)
    parser.add_argument("--features", type=int, default=640)
    parser.add_argument("--active", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    torch.set_num_threads(1)
    states = states_of(*load_model(), given.block, DIALOGUES)
    weights, quality = train(states, given.features, given.active, given.steps)
    path = save(given.out, weights, given.block, given.active)
    print(json.dumps({"path": str(path), **asdict(quality)}))


def _rebuilt(weights: dict[str, Tensor], states: Tensor, active: int) -> Tensor:
    return _largest(states @ weights["W_enc"] + weights["b_enc"], active) @ weights["W_dec"]


def _largest(before: Tensor, active: int) -> Tensor:
    top = before.topk(active, dim=1)
    return torch.zeros_like(before).scatter(1, top.indices, top.values.relu())


if __name__ == "__main__":
    main()
