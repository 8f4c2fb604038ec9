"""What a fingerprint costs: a random Llama of 1 GB, and a tokenizer of 150,000 tokens.

``python -m benchmarks.fingerprint [--megabytes N] [--json]``. Each figure is the median of ``ROUNDS``
calls in elapsed time, since the weights are hashed on as many threads as there are processors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from guardsteer.host import fingerprint

ROUNDS = 9
VOCABULARY = 150_000
WIDTH = 1024
LAYER_PARAMETERS = 4 * WIDTH * WIDTH + 3 * WIDTH * 3 * WIDTH


def random_llama(megabytes: int, dtype: torch.dtype) -> Any:
    """Return a Llama of about ``megabytes`` of weights in ``dtype``."""
    per_layer = LAYER_PARAMETERS * dtype.itemsize
    layers = max((megabytes * 1_000_000 - 32_000 * WIDTH * dtype.itemsize) // per_layer, 1)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        vocab_size=32_000,
        tie_word_embeddings=True,
    )
    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(config, dtype=dtype)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    return model.eval()


def tokenizer_of(tokens: int) -> Any:
    """Return a tokenizer with a vocabulary of ``tokens`` words."""
    vocabulary = {f"w{i:06d}": i for i in range(tokens)}
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w000000")))


def median_seconds(action: Callable[[], object]) -> float:
    """Return the median elapsed time of ``ROUNDS`` calls after one to warm up."""
    action()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(megabytes: int) -> dict[str, float]:
    """Return every figure by name."""
    small, large = tokenizer_of(10), tokenizer_of(VOCABULARY)
    tiny = random_llama(1, torch.bfloat16)
    figures = {
        f"tokenizer of {VOCABULARY} tokens, tiny model (s)": median_seconds(lambda: fingerprint(tiny, large))
    }
    for dtype in (torch.bfloat16, torch.float32):
        model = random_llama(megabytes, dtype)
        gigabytes = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e9
        seconds = median_seconds(lambda model=model: fingerprint(model, small))  # type: ignore[misc]  # the default binds it now
        name = str(dtype).removeprefix("torch.")
        figures[f"{name}, {gigabytes:.2f} GB (s)"] = seconds
        figures[f"{name}, per GB (s)"] = seconds / gigabytes
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the weights (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    figures = {"processors": float(os.cpu_count() or 0), **measure(args.megabytes)}
    if args.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(f"{value:10.3f}  {name}")


if __name__ == "__main__":
    main()
