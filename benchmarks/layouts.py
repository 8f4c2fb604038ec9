"""For how many causal LM types of transformers the blocks are found, in models without weights.

``python -m benchmarks.layouts [--json]``. Takes minutes: one model of each type is built at its default
size, on the meta device.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from guardsteer.errors import LayoutError
from guardsteer.host import find_layout


def outcome(model_type: str) -> str:
    """Return ``found``, ``refused`` or ``not built`` (its defaults make no model here)."""
    auto: Any = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            model = auto.from_config(AutoConfig.for_model(model_type))
    except Exception:  # defaults of many kinds do not go together
        return "not built"
    try:
        find_layout(model)
    except LayoutError:
        return "refused"
    return "found"


def main() -> None:
    """Print the types by outcome."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    logging.set_verbosity_error()
    types: dict[str, list[str]] = {"found": [], "refused": [], "not built": []}
    for model_type in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        types[outcome(model_type)].append(model_type)
        if sys.stderr.isatty():
            print(f"\r{sum(map(len, types.values()))} types", end="", file=sys.stderr)
    if args.json:
        print(json.dumps(types, indent=2))
        return
    for name, members in types.items():
        shown = "" if name == "found" else ": " + ", ".join(members)
        print(f"{len(members):4d}  {name}{shown}")


if __name__ == "__main__":
    main()
