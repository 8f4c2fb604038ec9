"""Build the probe that the policy beside this file names, for the demo model.

    python -m examples.says_and_holds.build

The direction of empathy is read from the extraction pairs of the recipe, and its projection is calibrated on
the tuning pairs, token by token. The probe is bound to the demo model; for another, ``vectors to-probe``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from guardsteer.assets import Catalog
from guardsteer.demo import load_model
from guardsteer.lab.extract import extract
from guardsteer.lab.fitting import Training
from guardsteer.lab.recipe import load_recipe
from guardsteer.lab.vector_probe import probe_of

__all__ = ["build", "main"]

HERE = Path(__file__).resolve().parent


def build(out: Path) -> Training:
    """Write the probe into ``out``."""
    model, tokenizer = load_model()
    recipe = load_recipe(Catalog().find("vectors", "empathy"))
    return probe_of(model, tokenizer, recipe, extract(model, tokenizer, recipe), out, name="empathy-probe")


def main() -> int:
    """Build and print the figures on the test pairs."""
    torch.set_num_threads(1)
    found = build(HERE / "probe")
    for name, figure in found.metrics.items():
        print(f"{name:<10} {figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
