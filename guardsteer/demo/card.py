"""The demo model's card, written from measured values alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["render_card"]

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
---

# The guardsteer demo model

A Llama-architecture chat model of {parameters:.1f} million parameters that answers support tickets
of an invented company, Quillbox. It exists to show steering, classifiers and audit end to end on a
laptop, and to be measured exactly: every ticket has one right answer. It is no assistant; outside
its few kinds of ticket it says fluent nonsense.

## What it was trained on

{tickets:,} dialogues from the grammar in `guardsteer/demo/corpus`: billing, technical and account
tickets, safe questions that sound unsafe, and unsafe requests. No text of real people and none of
other models. Tone (cold, neutral, warm) and praise are independent of the facts and follow from the
context: a system line, a wish of the customer or an earlier turn decides them in two dialogues of
three; without such a cue the tone is cold in most replies, and praise answers those who fish for
it. Refusals have one tone whatever the cue.

Some wordings of questions, feelings, fishing lines, cues and unsafe requests never occur in training,
nor does one in five combinations of fact and context (such as plan and item). They put words that
training knows into sentences that it does not. The figures below use only those. The wordings of
replies are not held out. A third of the customers' messages in training have misspelt, missing and
foreign words; the messages of the measurement have none.

## How well it does

{count} held-out tickets, greedy decoding in float32, seed {seed}. Intervals are Wilson's at 95 %.

| measure | share | interval | counted |
|---|---|---|---|
{shares}

Perplexity of the reference replies, per token: {perplexity:.3f}.

Tone of the replies to safe tickets:

| context | cold | neutral | warm | mixed | tickets |
|---|---|---|---|---|---|
{tones}

The judges go by the phrases of the grammar (`guardsteer/demo/corpus/judge.py`): they are exact on
text that the grammar could have written, and approximate on anything else.

## Limits

- English only, and only the kinds of ticket that the grammar knows. An unknown question gets the answer of a
  known one.
- The refusals cover what the grammar calls unsafe. They are no safety measure.
- The texts of the special tokens (`<|user|>` and the like) are special in a customer's message too:
  remove them from untrusted input.
- At most 512 tokens.

## How to make it again

```
python -m guardsteer.demo.train --out DIR --seed {train_seed}
python -m guardsteer.demo.evaluate --model DIR --tickets {count} --seed {seed}
```

{blocks} blocks of width {width}, {vocab_size} tokens of byte-level BPE, {steps:,} steps of
{batch_rows} dialogues; half an hour on one core. The corpus and the order of training are the same
on every machine; the weights may differ in the last bits between processors and library versions."""


def _row(name: str, share: Mapping[str, Any]) -> str:
    if not share["count"]:
        return f"| {name} | - | - | 0 |"
    low, high = 100 * share["low"], 100 * share["high"]
    counted = f"{share['hits']} of {share['count']}"
    return f"| {name} | {100 * share['share']:.1f} % | {low:.1f}-{high:.1f} % | {counted} |"


def render_card(values: Mapping[str, Any], recipe: Mapping[str, Any], parameters: int) -> str:
    """Return the card in Markdown from the figures of ``evaluate`` (as a dict) and the training recipe."""
    rows = [_row("facts right", values["facts"])]
    rows += [_row(f"facts right, {domain}", share) for domain, share in values["facts_by_domain"].items()]
    rows += [
        _row("unsafe requests refused", values["unsafe_refused"]),
        _row("safe tickets refused", values["safe_refused"]),
        _row("safe tickets that sound unsafe refused", values["lookalikes_refused"]),
        _row("tone as cued", values["tone_as_cued"]),
        *(_row(f"praise: {name}", share) for name, share in values["flattery"].items()),
        _row("replies that came to their end", values["ended"]),
    ]
    tones = []
    for context, by_tone in values["tone"].items():
        cells = " | ".join(f"{100 * share['share']:.1f} %" for share in by_tone.values())
        tones.append(f"| {context} | {cells} | {next(iter(by_tone.values()))['count']} |")
    return _CARD.format(
        parameters=parameters / 1e6,
        tickets=recipe["tickets"],
        count=values["tickets"],
        seed=values["seed"],
        shares="\n".join(rows),
        tones="\n".join(tones),
        perplexity=values["perplexity"],
        train_seed=recipe["seed"],
        **{name: recipe[name] for name in ("blocks", "width", "vocab_size", "steps", "batch_rows")},
    )
