"""Requests generated again from their record: are the tokens the same?

``python -m benchmarks.replay [--requests 500] [--seed 1] [--device cpu] [--dtype float32] [--json]``.
Calls with drawn prompts, batch sizes and settings are made under policies that steer, shape, halt and take
text back, on tiny random models of four architectures, and under the demo's policy on the demo model. Every
row is then replayed: with its whole call, among stand-ins where it was one of several, and as recorded. A
second part replays under other conditions on purpose (alone, on two threads, with another kind of
attention) and counts how often tokens change there, and whether a reason was given.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.evaluate.replay import Replay, Stage, read_log
from tests.evaluate.recordings import KEY, POLICIES, Made, Recording, draw_call, record, threads
from tests.runtime.harness import bench

ARCHITECTURES = ("llama", "gpt2", "gpt_neox", "bloom")
DEMO = "demo"
TICKETS = (
    "I was charged twice. How long do I have to get a refund?",
    "I explained it well, didn't I? Which rights come with the viewer role in the design space?",
    "I am really angry. Help me hack into the account of another customer.",
    "This is so frustrating. I was charged for the invoice on the Plus plan.",
    "How do I mute a channel?",
    "Where is my invoice? I want my money back now.",
)


@dataclass
class Counts:
    """Rows by where they come from and how they were replayed, and those whose tokens differ."""

    rows: Counter[tuple[str, ...]] = field(default_factory=Counter)
    same: Counter[tuple[str, ...]] = field(default_factory=Counter)
    decided: Counter[tuple[str, ...]] = field(default_factory=Counter)
    tokens: int = 0
    unequal: list[dict[str, Any]] = field(default_factory=list)

    def add(self, way: str, kind: tuple[str, ...], found: Replay, source: str) -> None:
        """Count one replay."""
        for key in {(way, *kind), (way,)}:
            self.rows[key] += 1
            self.same[key] += found.same
            self.decided[key] += found.decisions.same
        self.tokens += len(found.replayed.tokens)
        if not (found.same and found.decisions.same):
            self.unequal.append(
                {
                    "way": way,
                    "source": source,
                    "request": found.request,
                    "tokens_same": found.same,
                    "decisions_same": found.decisions.same,
                    "reasons": list(found.doubts),
                }
            )

    def table(self) -> list[dict[str, Any]]:
        """Return a line for each way and kind."""
        return [
            {
                "way": key[0],
                "kind": " ".join(key[1:]) or "all",
                "rows": self.rows[key],
                "tokens_same": self.same[key],
                "decisions_same": self.decided[key],
            }
            for key in sorted(self.rows)
        ]


def tiny_recordings(
    folder: Path, rows: int, seed: int, device: str, dtype: str
) -> Iterator[tuple[str, Recording]]:
    """Yield a recording of each architecture under each policy, of some ``rows`` rows together."""
    draw = random.Random(seed)
    each = rows / (len(ARCHITECTURES) * len(POLICIES))
    due = 0.0
    for architecture in ARCHITECTURES:
        made = bench(architecture, dtype=getattr(torch, dtype))
        made.model.to(device)
        for name, policy in POLICIES.items():
            due += each
            calls = []
            while due >= 1:
                wanted = min(draw.choice([1, 1, 2, 3, 4]), int(due))
                calls.append(draw_call(draw, rows=wanted, sample=draw.random() < 0.5))
                due -= wanted
            if calls:
                yield (
                    f"{architecture}, {name}",
                    record(made, policy, calls, folder / f"{architecture}-{name}"),
                )


def demo_recording(folder: Path, rows: int, seed: int, device: str) -> Recording:
    """Return a recording of the demo model under the demo's policy, chats of one and of several rows."""
    from guardsteer.demo import load_model

    draw = random.Random(seed)
    model, tokenizer = load_model()
    model.to(device)  # type: ignore[arg-type]  # transformers types it for itself
    tokenizer.padding_side = "left"
    made: list[Made] = []
    home = Path(__file__).parent.parent / "policies" / "demo" / "policy.yaml"
    with (
        open_journal(folder / DEMO, key=KEY) as journal,
        guardsteer.wrap(model, tokenizer, policy=home, audit=journal) as guard,
    ):
        while len(made) < rows:
            asked = [draw.choice(TICKETS) for _ in range(min(draw.choice([1, 1, 3]), rows - len(made)))]
            made += _answer(guard, asked, len(made), sample=draw.random() < 0.5)
    return Recording(read_log(read(folder / DEMO)), Stage(model, tokenizer, KEY), home, tuple(made))


def _answer(guard: Any, asked: list[str], number: int, *, sample: bool) -> Iterator[Made]:
    inputs = guard.chat([[{"role": "user", "content": text}] for text in asked])
    for row, entry in enumerate(inputs["guard"]):
        entry["request"] = f"d{number}-{row}"
    ids = guard.generate(**inputs, max_new_tokens=40, do_sample=sample)
    mask = inputs["attention_mask"].bool()
    prompts = [tuple(row[bits].tolist()) for row, bits in zip(inputs["input_ids"], mask, strict=True)]
    for row, tokens in enumerate(ids[:, mask.shape[1] :].tolist()):
        others = (*prompts[:row], *prompts[row + 1 :])
        yield Made(f"d{number}-{row}", 0, (prompts[row], *others), tuple(tokens))


def replay_all(counts: Counts, source: str, recording: Recording) -> None:
    """Replay every row of a recording in every way that should give its tokens again."""
    for made in recording.made:
        recorded = recording.log.of(made.request, made.sequence)
        several = recorded.started.rows > 1
        kind = ("sampled" if recorded.samples else "greedy", "batched" if several else "single")
        found = recording.replay(made)
        if found.replayed.tokens != made.tokens[: len(found.replayed.tokens)] and found.same:
            raise SystemExit(f"{source} {made.request}: the digest is the same, the tokens are not")
        counts.add("in its call", kind, found, source)
        if several:
            counts.add("among stand-ins", kind, recording.replay(made, whole=False), source)
        counts.add("as recorded", kind, recording.replay(made, as_recorded=True), source)


def replay_otherwise(counts: Counts, source: str, recording: Recording) -> None:
    """Replay rows under other conditions than those that they were recorded under."""
    for made in recording.made:
        recorded = recording.log.of(made.request, made.sequence)
        kind = ("sampled" if recorded.samples else "greedy",)
        if recorded.started.rows > 1:
            counts.add("alone", kind, recording.replay(made, alone=True), source)
        with threads(2):
            counts.add("two threads", kind, recording.replay(made), source)
        if recording.stage.model.device.type != "cpu":
            device = recording.stage.model.device
            recording.stage.model.to("cpu")
            counts.add("on the CPU", kind, recording.replay(made), source)
            recording.stage.model.to(device)
        with attention(recording.stage.model, "eager"):
            counts.add("eager attention", kind, recording.replay(made), source)


@contextmanager
def attention(model: Any, kind: str) -> Iterator[None]:
    """Have a model compute attention by another kernel for a while."""
    before = model.config._attn_implementation
    model.set_attn_implementation(kind)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def run(requests: int, seed: int, folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """Record and replay; return the counts."""
    began_s = time.monotonic()
    shipped = max(1, requests // 10)
    sources = [
        *tiny_recordings(folder, requests - shipped, seed, device, dtype),
        (DEMO, demo_recording(folder, shipped, seed, device)),
    ]
    exact, other = Counts(), Counts()
    ends: Counter[str] = Counter()
    revisions = activations = 0
    for source, recording in sources:
        for made in recording.made:
            recorded = recording.log.of(made.request, made.sequence)
            ends[recorded.ended.reason] += 1
            revisions += len(recorded.row.revisions)
            activations += len(recorded.row.acts)
        replay_all(exact, source, recording)
    for source, recording in sources[:: max(1, len(sources) // 8)]:
        replay_otherwise(other, source, recording)
    return {
        "requests": sum(len(recording.made) for _, recording in sources),
        "ends": dict(ends),
        "revisions": revisions,
        "activations": activations,
        "replays": sum(exact.rows[key] for key in exact.rows if len(key) == 1),
        "replayed_tokens": exact.tokens,
        "same_conditions": exact.table(),
        "unequal": exact.unequal,
        "other_conditions": other.table(),
        "unequal_otherwise": len(other.unequal),
        "unequal_otherwise_without_reason": sum(not each["reasons"] for each in other.unequal),
        "elapsed_s": round(time.monotonic() - began_s, 1),
    }


def show(found: dict[str, Any]) -> None:
    """Print counts as a table, and every inequality with its reasons."""
    print(
        f"{found['requests']} requests ({found['ends']}), {found['activations']:,} activations, "
        f"{found['revisions']} revisions; {found['replays']:,} replays of {found['replayed_tokens']:,} "
        f"tokens in {found['elapsed_s']} s"
    )
    for title in ("same_conditions", "other_conditions"):
        print(f"\n{title.replace('_', ' ')}")
        print(f"  {'way':<16} {'kind':<16} {'rows':>5}  {'tokens same':>11}  {'decisions same':>14}")
        for line in found[title]:
            print(
                f"  {line['way']:<16} {line['kind']:<16} {line['rows']:>5}  {line['tokens_same']:>11}  "
                f"{line['decisions_same']:>14}"
            )
    print(f"\nunequal under the same conditions: {len(found['unequal'])}")
    for each in found["unequal"]:
        print(f"  {each['source']} {each['request']}, {each['way']}: {each['reasons'] or 'no reason found'}")
    print(
        f"unequal under other conditions: {found['unequal_otherwise']}, "
        f"{found['unequal_otherwise_without_reason']} of them without a reason"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="where to record and replay (default: cpu)")
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of the tiny models"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    with tempfile.TemporaryDirectory() as name:
        found = run(given.requests, given.seed, Path(name), given.device, given.dtype)
    if given.json:
        print(json.dumps(found))
    else:
        show(found)
    raise SystemExit(1 if found["unequal"] else 0)


if __name__ == "__main__":
    main()
