"""What a guard adds to ``generate``: against the bare model in the same run, interleaved, one thread.

``python -m benchmarks.cost [--rounds 31] [--tokens 64] [--processes N] [--json]``. A random Llama of 15M
parameters with a vocabulary of 32,000 words. ``full`` is a policy with 20 rules, 3 text classifiers (word
and character n-grams), 1 probe and 2 vectors on 3 blocks, steering at every step, with an audit on disk.
``idle`` is the same policy where no rule holds; ``still`` is a policy of one pattern that is never found.
``reply`` is ``full`` with classifiers that read the generation alone: behind a long prompt it tells what
the text's length costs from what the model's longer context leaves of the processor's cache. Each figure
is a median over rounds; ``cpu`` is that of the whole process, the audit's writing thread included.
``--processes`` measures batch 1 alone, in so many fresh processes, since its figures move from one to the
next: median, lowest and highest.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, LogitsProcessor, PreTrainedTokenizerFast

import guardsteer
from guardsteer.classify.probe import Probe
from guardsteer.host import fingerprint
from guardsteer.lab.classifiers.train import About, Example, Settings, train
from guardsteer.runtime.admission import admit
from guardsteer.runtime.generation import Generation
from guardsteer.runtime.halting import Fallback
from guardsteer.steer import Vector, VectorCard, make_vector
from guardsteer.steer.artifact import ModelBinding

WORDS = 31_740
WIDTH = 288
BLOCKS = {"warm": (2, 3), "sharp": (4,)}


def tokenizer() -> Any:
    """Return a byte-level tokenizer with one token for each of 31,740 invented words."""
    draw = random.Random(0)
    onsets, vowels, codas = (
        ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl"],
        "aeiou",
        ["", "n", "r", "s", "t"],
    )
    words: dict[str, None] = {}
    while len(words) < WORDS:
        parts = [
            draw.choice(onsets) + draw.choice(vowels) + draw.choice(codas) for _ in range(draw.randint(1, 3))
        ]
        words["\u0120" + "".join(parts)] = None
    pieces = ["<pad>", "<bos>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    backend = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left"
    )


def model(vocabulary: int) -> Any:
    """Return a random Llama of 15M parameters."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=WIDTH,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    from_config: Any = AutoModelForCausalLM.from_config
    return from_config(config).eval()


def classifiers(folder: Path, texts: list[str]) -> dict[str, Path]:
    """Train three classifiers on labels that depend on a few of the words."""
    kinds = {
        "words": Settings(analyzer="word", ngrams=(1, 2), max_features=20_000, positive="yes"),
        "pieces": Settings(analyzer="char_wb", ngrams=(3, 5), max_features=20_000, positive="yes"),
        "hashed": Settings(
            vectorizer="hashing", analyzer="char_wb", ngrams=(3, 5), max_features=2**16, positive="yes"
        ),
    }
    for place, (name, settings) in enumerate(kinds.items()):
        examples = [
            Example(text, "yes" if text.count("aeiou"[place]) > len(text) / 12 else "no") for text in texts
        ]
        train(examples, settings, About(name, licence="Apache-2.0", sources=("invented",)), folder / name)
    return {name: folder / name for name in kinds}


def policy(folders: dict[str, Path], *, steers: bool) -> str:
    """Return 20 rules over 3 classifiers and a probe; two of them steer where ``steers``."""
    lines = ["guardsteer: 1", "name: cost", "classifiers:"]
    lines += [f"  {name}: {{use: {folder}, on: all}}" for name, folder in folders.items()]
    lines += ["  probe: {use: ./probe, on: all}", "flags:"]
    outputs = [f"{name}.score" for name in folders] + ["probe.score"]
    lines += [
        f"  f{i}: {{signal: {outputs[i % 4]}, enter: 0.7, exit: 0.4, after: {1 + i % 3}}}" for i in range(8)
    ]
    lines += ["vectors:"]
    lines += [f"  {name}: {{use: ./none, blocks: {list(blocks)}}}" for name, blocks in BLOCKS.items()]
    lines += ["rules:"]
    for i, name in enumerate(BLOCKS):
        bound = -1 if steers else 2
        lines.append(
            f"  - {{id: steer{i}, when: words.score > {bound}, add: {{vector: {name}, strength: 0.2}}}}"
        )
    for i in range(18):
        when = f"f{i % 8} && !f{(i + 3) % 8} && {outputs[i % 3]} > 1.5"
        vector = list(BLOCKS)[i % 2]
        lines.append(
            f"  - {{id: r{i}, when: '{when}', priority: {i}, add: {{vector: {vector}, strength: 0.1}}}}"
        )
    return "\n".join(lines)


STILL = """
guardsteer: 1
name: still
classifiers: {never: {literals: [qqqqqq], on: all}}
vectors: {warm: {use: ./none, blocks: [2, 3]}, sharp: {use: ./none, blocks: [4]}}
rules: [{id: r, when: never.match > 0.5, add: {vector: warm, strength: 0.2}}]
"""


@dataclass(frozen=True)
class Setting:
    """Everything that the measurements share."""

    model: Any
    tokenizer: Any
    vectors: dict[str, Vector]
    probe: Probe
    folder: Path
    policies: dict[str, Path]

    def guard(self, name: str) -> Any:
        """Wrap the model under one of the policies, with an audit on disk."""
        given = {"probe": self.probe} if name != "still" else {}
        return guardsteer.wrap(
            self.model,
            self.tokenizer,
            policy=self.policies[name],
            vectors=self.vectors,
            classifiers=given,
            audit=self.folder / "audit",
        )


def setting(folder: Path) -> Setting:
    """Build model, classifiers, probe, vectors and policies."""
    words = tokenizer()
    network = model(len(words))
    draw = random.Random(1)
    texts = [words.decode([draw.randrange(259, len(words)) for _ in range(20)]) for _ in range(1500)]
    folders = classifiers(folder, texts)
    identity = fingerprint(network, words)
    generator = torch.Generator().manual_seed(2)
    vectors = {}
    for name, blocks in BLOCKS.items():
        directions = torch.randn(len(blocks), WIDTH, generator=generator)
        card = VectorCard(
            name=name,
            version="1",
            trait="random",
            description="",
            licence="Apache-2.0",
            method="mean_difference",
            read="assistant_mean",
            data_digest="b3:" + "0" * 64,
            pairs=8,
            blocks=blocks,
            model=ModelBinding(**{part: getattr(identity, part) for part in ModelBinding.model_fields}),
            libraries={},
        )
        unit = directions / directions.norm(dim=-1, keepdim=True)
        vectors[name] = make_vector(
            card, directions=unit.numpy(), residual_norms=np.ones(len(blocks), np.float32)
        )
    probe = Probe(
        name="probe",
        outputs=("score",),
        block=1,
        weight=torch.randn(1, WIDTH, generator=generator),
        bias=torch.zeros(1),
        fingerprint=identity.digest,
        digest="b3:" + "0" * 64,
    )
    full = policy(folders, steers=True)
    texts_of = {"full": full, "idle": policy(folders, steers=False), "still": STILL}
    texts_of["reply"] = full.replace("on: all", "on: generation")
    policies = {}
    for name, text in texts_of.items():
        policies[name] = folder / f"{name}.yaml"
        policies[name].write_text(text)
    return Setting(network, words, vectors, probe, folder, policies)


def prompts(made: Setting, rows: int, tokens: int, seed: int) -> dict[str, Any]:
    """Return random words as a batch."""
    draw = random.Random(seed)
    ids = [[draw.randrange(259, len(made.tokenizer)) for _ in range(tokens)] for _ in range(rows)]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(rows, tokens, dtype=torch.long)}


@dataclass(frozen=True)
class Taken:
    """Seconds of all tokens but the first, and of a request for one token; wall and CPU time."""

    steps_wall_s: float
    steps_cpu_s: float
    one_wall_s: float


def take(generate: Callable[..., Any], inputs: dict[str, Any], tokens: int) -> Taken:
    """Time a request for one token and one for ``tokens``."""
    times = []
    # What was built to wrap the model is swept up before the clock runs, not while it does.
    gc.collect()
    for count in (1, tokens):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        generate(**inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        times.append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    (one_wall_s, one_cpu_s), (wall_s, cpu_s) = times
    return Taken(wall_s - one_wall_s, cpu_s - one_cpu_s, one_wall_s)


def compare(made: Setting, rows: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Return what a guard adds, interleaved in random order: percent of a step, us a step and a row.

    A step's time is that of ``tokens`` tokens less that of one, so that a request's own cost (reading the
    prompt, admission, its first and last records) is told apart: ``us_request``, for each row. ``bare
    again`` is the bare model once more: what it differs by is noise.
    """
    names = ("bare", "bare again", "full", "idle", "still")
    found: dict[str, list[Taken]] = {name: [] for name in names}
    draw = random.Random(0)
    for turn in range(rounds + 1):
        inputs = prompts(made, rows, 32, turn)
        for name in draw.sample(names, len(names)):
            if name.startswith("bare"):
                taken = take(made.model.generate, inputs, tokens)
            else:
                with made.guard(name) as guard:
                    taken = take(guard.generate, inputs, tokens)
            if turn:
                found[name].append(taken)
    result: dict[str, Any] = {
        "rows": rows,
        "bare_us_step": _median(taken.steps_wall_s for taken in found["bare"]) / (tokens - 1) * 1e6,
    }
    for name in names[1:]:
        pairs = list(zip(found[name], found["bare"], strict=True))
        wall_us = _median(a.steps_wall_s - b.steps_wall_s for a, b in pairs) / (tokens - 1) * 1e6
        cpu_us = _median(a.steps_cpu_s - b.steps_cpu_s for a, b in pairs) / (tokens - 1) * 1e6
        result[name] = {
            "overhead_percent": 100 * _median(a.steps_wall_s / b.steps_wall_s - 1 for a, b in pairs),
            "us_step": wall_us,
            "us_row_step": wall_us / rows,
            "cpu_us_step": cpu_us,
            "us_request": _median(a.one_wall_s - b.one_wall_s for a, b in pairs) * 1e6 / rows,
        }
    return result


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


class Clock:
    """Adds up the time inside the guard's own code, step by step."""

    def __init__(self) -> None:
        self.steps_s: list[float] = []

    def timed(self, function: Any, *, begins: bool) -> Any:
        """Return ``function``, timed; ``begins``: a call of it begins a step."""

        def run(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                if begins:
                    self.steps_s.append(0.0)
                self.steps_s[-1] += time.perf_counter() - begun

        return run


class _Say(LogitsProcessor):
    """Has a model say given words, whatever it would say: the same ones behind any prompt."""

    def __init__(self, words: Sequence[int], width: int) -> None:
        self._words, self._width = words, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return ``scores: [row, token]`` that leave one choice."""
        said = torch.full_like(scores, -torch.inf)
        said[:, self._words[input_ids.shape[1] - self._width]] = 0.0
        return said


def said(made: Setting, tokens: int) -> list[int]:
    """Return words that recur as a language's do, with frequencies that fall as one over the rank."""
    draw = random.Random(11)
    known = [draw.randrange(259, len(made.tokenizer)) for _ in range(500)]
    return draw.choices(known, [1 / rank for rank in range(1, len(known) + 1)], k=tokens)


def inside(made: Setting, name: str, prompt_tokens: int, tokens: int) -> float:
    """Return microseconds a step (median) inside the guard's own code, decoding behind a prompt.

    The model is made to say the same words behind every prompt, so that lengths are compared over one
    text. They are said twice and timed the second time: whether a word was met in a longer prompt counts
    for nothing then.
    """
    clock = Clock()
    kept = {
        (cls, name): getattr(cls, name)
        for cls, name in (
            (Generation, "begin_pass"),
            (Generation, "at_point"),
            (Fallback, "__call__"),
        )
    }
    with made.guard(name) as guard:
        inputs = prompts(made, 1, prompt_tokens, 5)
        for (cls, name), function in kept.items():
            setattr(cls, name, clock.timed(function, begins=name == "begin_pass"))
        try:
            for _ in range(2):
                clock.steps_s.clear()
                guard.generate(
                    **inputs,
                    max_new_tokens=tokens,
                    min_new_tokens=tokens,
                    do_sample=False,
                    logits_processor=[_Say(said(made, tokens), prompt_tokens)],
                )
        finally:
            for (cls, name), function in kept.items():
                setattr(cls, name, function)
    # The first is the prompt's.
    return _median(clock.steps_s[1:]) * 1e6


class _Length:
    """Stands for a cache of which only the length is asked."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def get_seq_length(self) -> int:
        """Return the number of columns."""
        return self.columns


def alone(made: Setting, prompt_tokens: int, tokens: int) -> float:
    """Return microseconds a step of the guard's own code without the model, behind a prompt.

    Inside ``generate`` a longer context also leaves less of the processor's cache to the guard; this is
    what the length of the text itself costs.
    """
    draw = random.Random(7)
    hidden = torch.zeros(1, 1, WIDTH)
    with made.guard("full") as guard:
        kit, auditor = guard._kit, guard._auditor
        inputs = prompts(made, 1, prompt_tokens, 5)
        admission = admit(kit, inputs, None, eos=frozenset({2}), pad=0, expansion=1)
        generation = admission.begin(
            kit, auditor, guard._switch, beams=False, settings=made.model.generation_config
        )
        cache = _Length(0)
        generation.begin_pass(inputs["input_ids"], cache)
        for point in kit.points:
            generation.at_point(point, torch.zeros(1, prompt_tokens, WIDTH))
        cache.columns = prompt_tokens
        steps = [torch.tensor([[draw.randrange(259, len(made.tokenizer))]]) for _ in range(tokens)]
        begun = time.perf_counter()
        for ids in steps:
            generation.begin_pass(ids, cache)
            for point in kit.points:
                generation.at_point(point, hidden)
            cache.columns += 1
        return (time.perf_counter() - begun) / tokens * 1e6


def spread(processes: int, rounds: int, tokens: int) -> dict[str, Any]:
    """Measure batch 1 in fresh processes; return median, lowest and highest of each figure."""
    words = [sys.executable, "-m", "benchmarks.cost", "--batch-1", "--json"]
    words += ["--rounds", str(rounds), "--tokens", str(tokens)]
    runs = [
        json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["batch_1"]
        for _ in range(processes)
    ]
    figures: dict[str, Any] = {"processes": processes}
    for name in ("bare again", "full", "idle", "still"):
        for unit in ("overhead_percent", "us_step"):
            values = sorted(run[name][unit] for run in runs)
            figures[f"{name}, {unit}"] = [
                round(value, 1) for value in (_median(values), values[0], values[-1])
            ]
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch-1", action="store_true", help="measure batch 1 alone")
    parser.add_argument("--processes", type=int, metavar="N", help="batch 1 in N fresh processes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.processes:
        figures = spread(given.processes, given.rounds, given.tokens)
        print(json.dumps(figures, indent=None if given.json else 2))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        made = setting(Path(name))
        results: dict[str, Any] = {"batch_1": compare(made, 1, given.tokens, given.rounds)}
        if given.batch_1:
            print(json.dumps(results, indent=None if given.json else 2))
            return
        results["batch_32"] = compare(made, 32, given.tokens, given.rounds)
        short, long = 30, 1270
        cases = (("full", short), ("reply", long), ("full", long))
        spans = [[inside(made, *case, given.tokens) for case in cases] for _ in range(given.rounds)]
        loops = [(alone(made, short, 256), alone(made, long, 256)) for _ in range(given.rounds)]
        results["text_length"] = {
            "alone_us_step": [statistics.median(pair[i] for pair in loops) for i in (0, 1)],
            "alone_ratio": statistics.median(b / a for a, b in loops),
            "characters": [
                len(made.tokenizer.decode(prompts(made, 1, n, 5)["input_ids"][0])) for n in (short, long)
            ],
            "inside_us_step": [_median(found[i] for found in spans) for i in (0, 2)],
            "inside_ratio": _median(longest / shortest for shortest, _, longest in spans),
            "same_context_us_step": [_median(found[i] for found in spans) for i in (1, 2)],
            "same_context_ratio": _median(longest / reply for _, reply, longest in spans),
        }
    print(json.dumps(results, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
