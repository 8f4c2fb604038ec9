"""How likely is the word at all? What the vector does to the chance that a reply comes to name Python.

    python -m examples.evangelist.likelihood [--model PATH|demo]

Counting mentions cannot tell a direction that points elsewhere from one that is outweighed. So the word is
scored where it would fit, after "You should use", while the vector pushes the places that predict it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from examples.dose import load
from examples.evangelist.__main__ import TRIAL
from examples.warm_when_hostile import talk
from guardsteer.assets import Catalog
from guardsteer.errors import GuardsteerError
from guardsteer.evaluate import Estimate, mean_interval
from guardsteer.host import render_chat
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.measure.effects import random_like
from guardsteer.lab.pairs.prompts import Prompt, recipe_prompts
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.rules import parse_policy
from guardsteer.runtime import wrap
from guardsteer.steer import Vector

__all__ = ["log_likelihoods", "main"]

_WORD, _LEAD = " Python", " You should use"
_STRENGTHS = (0.2, 0.4, 0.8)
_POLICY = """
guardsteer: 1
name: likelihood
vectors: {{pushed: {{use: ./in-memory, blocks: [{block}], positions: [last_prompt_token]}}}}
rules: [{{id: push, when: step >= 0, add: {{vector: pushed, strength: {strength}}}}}]
"""


def log_likelihoods(
    model: Any, tokenizer: Any, vector: Vector, block: int, strength: float, prompts: Sequence[Prompt]
) -> list[float]:
    """Return for each prompt the log probability of the word, in nats, under a push; bare at strength 0."""
    if not strength:
        return [_nats(model.generate, tokenizer, prompt) for prompt in prompts]
    policy = parse_policy(_POLICY.format(block=block, strength=strength), "likelihood")
    with wrap(model, tokenizer, policy=policy, vectors={"pushed": vector}) as guard:
        return [_nats(guard.generate, tokenizer, prompt) for prompt in prompts]


def _nats(generate: Callable[..., Any], tokenizer: Any, prompt: Prompt) -> float:
    one = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    ids = list(render_chat(tokenizer, [dict(turn) for turn in prompt.messages]).input_ids)
    ids += tokenizer(_LEAD, add_special_tokens=False)["input_ids"]
    nats = 0.0
    for token in tokenizer(_WORD, add_special_tokens=False)["input_ids"]:
        row = torch.tensor([ids])
        logits = generate(input_ids=row, attention_mask=torch.ones_like(row), **one).logits[0]
        nats += float(logits[0].float().log_softmax(-1)[token])
        ids.append(token)
    return nats


def _told(found: Estimate) -> str:
    return f"{found.value:.1f} ({found.low:.1f} to {found.high:.1f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its status is 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.evangelist.likelihood", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("--model", default=str(talk.MODEL), help="folder of a chat model, or 'demo' (default: %(default)s)")
    add("--block", type=int, help="block to push (default: five eighths of the depth)")
    given = parser.parse_args(arguments)
    try:
        model, tokenizer = load(given.model)
        recipe = load_recipe(Catalog().find("vectors", TRIAL.recipe))
        vector = extract(model, tokenizer, recipe)
        block = given.block if given.block is not None else round(0.625 * vector.card.model.n_blocks)
        prompts = [prompt for part in recipe_prompts(recipe) for prompt in part]
        tried = {"python-evangelist": vector, **{f"random {n}": random_like(vector, n) for n in (1, 2, 3)}}
        print(f"Block {block}, {len(prompts)} prompts that the vector was not read from; nats.\n")
        print(f"| strength | {' | '.join(tried)} |")
        print(f"|{'---|' * (1 + len(tried))}")
        bare = _told(mean_interval(log_likelihoods(model, tokenizer, vector, block, 0.0, prompts)))
        print(f"| 0 | {' | '.join([bare] * len(tried))} |")
        for strength in _STRENGTHS:
            cells = [
                _told(mean_interval(log_likelihoods(model, tokenizer, each, block, strength, prompts)))
                for each in tried.values()
            ]
            print(f"| {strength:g} | {' | '.join(cells)} |", flush=True)
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
