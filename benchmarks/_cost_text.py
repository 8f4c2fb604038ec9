"""What the length of a text costs a step of the guard's own code."""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import torch

from benchmarks._cost_setting import WIDTH, Saying, Setting, prompts, said
from guardsteer.runtime.admission import admit
from guardsteer.runtime.generation import Generation
from guardsteer.runtime.halting import Fallback

__all__ = ["text_length"]


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
                    logits_processor=[Saying(said(made, tokens), prompt_tokens)],
                )
        finally:
            for (cls, name), function in kept.items():
                setattr(cls, name, function)
    # The first is the prompt's.
    return statistics.median(clock.steps_s[1:]) * 1e6


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
        generation = admission.begin(kit, auditor, guard._switch, beams=False, call=None)
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


def text_length(made: Setting, tokens: int, rounds: int) -> dict[str, Any]:
    """Return what a step costs the guard's own code behind a short and a long text."""
    short, long = 30, 1270
    cases = (("full", short), ("reply", long), ("full", long))
    spans = [[inside(made, *case, tokens) for case in cases] for _ in range(rounds)]
    loops = [(alone(made, short, 256), alone(made, long, 256)) for _ in range(rounds)]
    median = statistics.median
    return {
        "characters": [
            len(made.tokenizer.decode(prompts(made, 1, n, 5)["input_ids"][0])) for n in (short, long)
        ],
        "alone_us_step": [median(pair[i] for pair in loops) for i in (0, 1)],
        "alone_ratio": median(b / a for a, b in loops),
        "inside_us_step": [median(found[i] for found in spans) for i in (0, 2)],
        "inside_ratio": median(longest / shortest for shortest, _, longest in spans),
        "same_context_us_step": [median(found[i] for found in spans) for i in (1, 2)],
        "same_context_ratio": median(longest / reply for _, reply, longest in spans),
    }
