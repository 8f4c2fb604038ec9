"""A concept that is only latent in the context, read from hidden states token by token.

    python -m examples.concept_probe [--model demo|PATH]

On the demo model the concept is that a ticket is about billing, on another chat model that the user is
hostile. One probe learns from every token since the user's last turn began, for the trace; another from the
prompt's last token alone, where a policy decides. Block and penalty are chosen on tuning texts; all figures
are of texts that were held out. Beside them stands a classifier of the words alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.concept_probe.concepts import Concept, Said, billing, hostile
from examples.dose import DEMO, load
from examples.harbor.run import draw
from examples.pictures import save_trace
from guardsteer.assets import Catalog
from guardsteer.classify import load_folder
from guardsteer.classify.probe import Probe, load_probe
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.demo.answering import answer, answer_guarded
from guardsteer.demo.corpus.judge import tone_of
from guardsteer.errors import ClassifierError, GuardsteerError
from guardsteer.host import find_layout, fingerprint, render_chat
from guardsteer.host.capture import capture
from guardsteer.lab.classifiers.fitting import About, Settings
from guardsteer.lab.metrics.agreement import metrics_for, with_intervals
from guardsteer.lab.probes.train import best_block, train_probe
from guardsteer.runtime import wrap

__all__ = ["Read", "judged", "learn", "main", "read", "steered"]

HERE = Path(__file__).resolve().parent
_SETTINGS = Settings(positive="yes", balanced=True, penalties=(0.001, 0.01, 0.1, 1.0), tune=0.2, test=0.2)
_AUROC = {"auroc": metrics_for(2)["auroc"]}
_SHARES = (0.25, 0.5, 0.75, 1.0)
_READS = {False: "every token", True: "the last token"}


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Tokens from the start of the user's last turn to the end of the prompt, and their states by block.

    ``spoken``: how many of them are the user's; the rest is the template's. States are ``[token, width]``.
    """

    said: Said
    tokens: tuple[str, ...]
    spoken: int
    states: dict[int, NDArray[Any]]


def read(model: Any, tokenizer: Any, said: Sequence[Said], blocks: Sequence[int]) -> list[Read]:
    """Return what the model holds at each token of the last turn of each conversation."""
    layout, found = find_layout(model), []
    for one in said:
        chat = render_chat(tokenizer, [dict(turn) for turn in one.messages])
        turn, ids = chat.turns[-1], torch.tensor([chat.input_ids], device=model.device)
        states = {
            block: hidden[0, turn.first :].float().cpu().numpy()
            for block, hidden in capture(model, layout, blocks, ids).items()
        }
        tokens = tuple(tokenizer.decode([token]) for token in chat.input_ids[turn.first :])
        found.append(Read(one, tokens, turn.end - turn.first, states))
    return found


def learn(
    model: Any, tokenizer: Any, concept: Concept, out: Path, *, last: bool
) -> tuple[Probe, dict[int, float]]:
    """Train a probe into ``out``; return it, and the log loss of every block on the tuning texts.

    It learns from every token of the last turn, or with ``last`` from the prompt's last token alone.
    """
    blocks = range(find_layout(model).n_blocks - 1)
    used = slice(-1, None) if last else slice(None)
    reads = read(model, tokenizer, concept.learn, blocks)
    labels = ["yes" if one.said.holds else "no" for one in reads for _ in one.tokens[used]]
    keys = [one.said.text for one in reads for _ in one.tokens[used]]
    states = {block: np.concatenate([one.states[block][used] for one in reads]) for block in blocks}
    block, losses = best_block(states, labels, keys, _SETTINGS)
    identity = fingerprint(model, tokenizer)
    train_probe(
        states[block],
        labels,
        keys,
        block=block,
        fingerprint=identity.digest,
        dtype=identity.dtype,
        settings=_SETTINGS,
        about=About(
            f"{concept.name}-probe", description=f"{concept.name}: {_READS[last]}", licence="Apache-2.0"
        ),
        out=out,
    )
    return load_probe(out), losses


def scores(probe: Probe, one: Read) -> NDArray[np.float64]:
    """Return the probe's probability at each token."""
    found = probe.score(torch.from_numpy(one.states[probe.block]))[:, 0]
    return found.numpy().astype(np.float64)


def judged(
    probes: Sequence[Probe], blocks: Mapping[int, Sequence[Read]], words: tuple[str, str]
) -> Iterator[str]:
    """Yield the AUROC of each probe, with intervals over texts, by how much of the prompt it has read.

    ``blocks``: the texts as they were read at each probe's block. The last line is of the words alone.
    """
    yield f"| read | {' | '.join(f'probe of {each}' for each in _READS.values())} |"
    yield f"|{'---|' * (1 + len(probes))}"
    found = [[scores(probe, one) for one in blocks[probe.block]] for probe in probes]
    reads = blocks[probes[0].block]
    labels = np.array([int(one.said.holds) for one in reads])
    for share in _SHARES:
        at = [max(1, round(share * one.spoken)) - 1 for one in reads]
        cells = [_auroc(labels, [row[n] for row, n in zip(rows, at, strict=True)]) for rows in found]
        yield f"| the token {share:.0%} into what the user said | {' | '.join(cells)} |"
    cells = [_auroc(labels, [row[-1] for row in rows]) for rows in found]
    yield f"| **the prompt's last token, where a policy decides** | {' | '.join(cells)} |"
    groups = np.repeat(np.arange(len(reads)), [len(one.tokens) for one in reads])
    cells = [_auroc(labels[groups], np.concatenate(rows), groups) for rows in found]
    yield f"| every token by itself | {' | '.join(cells)} |"
    classifier = load_folder(Catalog().find("classifiers", words[0]))
    if not isinstance(classifier, LinearClassifier):
        raise ClassifierError(f"classifier {words[0]!r}: expected one of words")
    said = classifier.predict([one.said.text for one in reads])[:, classifier.outputs.index(words[1])]
    yield f"| no state, but all the words (classifier {words[0]}) | {_auroc(labels, said)} | |"


def _auroc(
    labels: NDArray[np.int64], scores: Sequence[float] | NDArray[Any], groups: NDArray[np.int64] | None = None
) -> str:
    yes = np.asarray(scores, dtype=np.float64)
    told = with_intervals(
        labels, np.column_stack([1 - yes, yes]), _AUROC, seed=0, resamples=300, groups=groups
    )
    return "{value:.3f} ({low:.3f} to {high:.3f})".format(**told["auroc"])


def steered(model: Any, tokenizer: Any, probe: Probe, count: int) -> Iterator[str]:
    """Yield what the policy beside this file does to held-out tickets; ``probe`` alone gates it."""
    tickets = draw(count, "held_out", "concept")
    bare = answer(model, tokenizer, tickets)
    with wrap(model, tokenizer, policy=HERE / "policy.yaml", classifiers={"topic": probe}) as guard:
        guarded = answer_guarded(guard, tokenizer, tickets)
    yield "| tickets | answers changed | warm, bare | warm, guarded |"
    yield "|---|---|---|---|"
    for name, wanted in (("billing", True), ("all others", False)):
        rows = [n for n, t in enumerate(tickets) if (t.domain == "billing" and not t.unsafe) == wanted]
        changed = sum(bare[row] != guarded[row] for row in rows)
        warm = [sum(tone_of(said[row]) == "warm" for row in rows) for said in (bare, guarded)]
        yield f"| {name} ({len(rows)}) | {changed} | {warm[0]} | {warm[1]} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its status is 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.concept_probe", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("--model", default=DEMO, help="'demo', or the folder of a chat model (default: demo)")
    add("--texts", type=int, default=600, help="conversations to learn from (default: 600)")
    add(
        "--out",
        type=Path,
        default=HERE / "probe",
        help="folder of the probe (default: the one of the policy)",
    )
    add("--picture", type=Path, metavar="FILE", help="draw the trace into this .svg")
    given = parser.parse_args(arguments)
    demo = given.model == DEMO
    try:
        if not demo and given.out == HERE / "probe":
            raise ClassifierError(f"--out: {given.out} is the demo model's probe; name another folder")
        model, tokenizer = load(given.model)
        concept = billing(given.texts) if demo else hostile(given.texts)
        with tempfile.TemporaryDirectory() as spare:
            trace, _ = learn(model, tokenizer, concept, Path(spare) / "probe", last=False)
        gate, _ = learn(model, tokenizer, concept, given.out, last=True)
        print(f"{concept.name}: every token at block {trace.block}, the last one at block {gate.block}\n")
        judge = {block: read(model, tokenizer, concept.judge, [block]) for block in {trace.block, gate.block}}
        print("\n".join(judged([trace, gate], judge, concept.words)))
        if demo:
            print("\n" + "\n".join(steered(model, tokenizer, gate, given.texts // 5)))
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    said = [Said(({"role": "user", "content": text},), False) for text in concept.traced]
    reads = read(model, tokenizer, said, [trace.block])
    traces = [(one.tokens, scores(trace, one).tolist()) for one in reads]
    for tokens, row in traces:
        print(
            "\n" + " ".join(f"{token.strip()}[{score:.2f}]" for token, score in zip(tokens, row, strict=True))
        )
    if given.picture:
        print(f"\n{save_trace(given.picture, f'{concept.name}: the probe at each token', traces)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
