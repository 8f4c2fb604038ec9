"""Text that was taken back is as if it had never been written, in every way of decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

import guardsteer
from guardsteer.audit import read
from guardsteer.core.events import ActivationBegan, ActivationEnded, RequestEnded, RowRevised
from guardsteer.errors import UnsupportedError
from guardsteer.host import find_layout
from guardsteer.steer import Vector
from tests.host.test_gaps import REFUSED
from tests.models import ARCHITECTURES
from tests.runtime.harness import POLICY as BASE
from tests.runtime.harness import (
    SPECIAL,
    Bench,
    batch,
    bench,
    decide_scripted,
    policy_file,
    random_vector,
    score_of,
    steered,
)
from tests.runtime.test_probes import probe_of

TOKENS = 16
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
MODES: dict[str, dict[str, Any]] = {
    "dynamic cache": {},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "chunked prefill": {"prefill_chunk_size": 3},
}
DROP, MOST, STEPS, AT = 3, 3, 4, 0.9
POLICY = BASE.replace(
    "  three: {use: ./none, positions: [all]}\n",
    "  three: {use: ./none, positions: [all]}\n"
    "  four: {use: ./none, positions: [last_prompt_token, generated]}\n",
) + (
    f"  - id: again\n    when: said.score >= {AT}\n    add: {{vector: four, strength: 0.9}}\n"
    f"    revise: {{tokens: {DROP}, most: {MOST}, steps: {STEPS}, then: continue}}\n"
)


def with_four(architecture: str, **changes: Any) -> Bench:
    made = bench(architecture, **changes)
    four = random_vector(made.model, made.tokenizer, "four", (1, 3), 17)
    return Bench(made.model, made.tokenizer, {**made.vectors, "four": four}, made.classifiers, made.reference)


@dataclass
class Told:
    """What the reference did to a row."""

    tokens: list[int] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    plans: list[tuple[float, ...]] = field(default_factory=list)


def greedy(logits: Tensor, _: int) -> int:
    return int(logits.argmax())


def reference(
    made: Bench,
    prompt: list[int],
    tokens: int = TOKENS,
    drop: int = DROP,
    choose: Callable[[Tensor, int], int] = greedy,
) -> Told:
    """Decode one row without a cache; where text goes, go on as if it had never been there.

    ``choose`` takes logits and the number of tokens before the new one.
    """
    told = Told()
    plans = told.plans
    step, left, until = 0, MOST, -1
    text = made.tokenizer.decode(prompt, skip_special_tokens=True)
    while len(told.tokens) < tokens:
        written = [made.tokenizer.decode(told.tokens[:n]) for n in range(len(told.tokens) + 1)]
        score = score_of(1, written[-1]) if written[-1] else 0.0
        forced = step <= until
        if score >= AT and left:
            left, until = left - 1, step + STEPS
            kept = max(0, len(told.tokens) - drop)
            told.dropped.append((len(told.tokens) - kept, kept))
            del told.tokens[kept:], told.logits[kept:], plans[kept:]
            step += 1
            continue
        one, two, three = decide_scripted(text, written, [])[-1]
        plans.append((one, two, three, 0.9 if forced or score >= AT else 0.0))
        logits = _logits(made, prompt, told.tokens, plans)
        told.logits.append(logits.clone())
        logits[list(SPECIAL)] = -torch.inf
        told.tokens.append(choose(logits, len(prompt) + len(told.tokens)))
        step += 1
    return told


def _logits(made: Bench, prompt: list[int], written: list[int], plans: list[tuple[float, ...]]) -> Tensor:
    # By vector: one and four act from the prompt's last token on, two from the first generated one, three
    # everywhere.
    rows = [(0.0, 0.0, plans[0][2], 0.0)] * (len(prompt) - 1)
    rows += [(one, two if n else 0.0, three, four) for n, (one, two, three, four) in enumerate(plans)]
    with steered(made.model, list(made.vectors.values()), rows), torch.no_grad():
        output = made.model(input_ids=torch.tensor([prompt + written]), use_cache=False)
    last: Tensor = output.logits[0, -1]
    return last


def guarded(made: Bench, folder: Path, text: str = POLICY, **options: Any) -> Any:
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, text),
        vectors=made.vectors,
        classifiers=made.classifiers,
        **options,
    )


def run(model: Any, prompts: list[list[int]], tokens: int = TOKENS, **options: Any) -> list[list[int]]:
    inputs = batch(prompts)
    options = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None, **options}
    options.setdefault("suppress_tokens", list(SPECIAL))
    options.setdefault("pad_token_id", 0)
    ids = model.generate(**inputs, **options)
    ids = ids if isinstance(ids, Tensor) else ids.sequences
    each = len(ids) // len(prompts)
    width = inputs["input_ids"].shape[1]
    assert torch.equal(ids[:, :width], inputs["input_ids"].repeat_interleave(each, dim=0))
    return [row[width:] for row in ids.tolist()]


@pytest.mark.parametrize("mode", MODES)
def test_a_row_goes_on_as_if_what_was_taken_back_had_never_been_written(mode: str, tmp_path: Path) -> None:
    made = with_four("llama")
    expected = [reference(made, prompt) for prompt in PROMPTS]
    assert sum(bool(told.dropped) for told in expected) >= 2, "rows must go back for this to mean anything"
    with guarded(made, tmp_path) as guard:
        for prompt, told in zip(PROMPTS, expected, strict=True):
            assert run(guard, [prompt], **MODES[mode]) == [told.tokens]
        if mode != "chunked prefill":
            assert run(guard, PROMPTS, **MODES[mode]) == [told.tokens for told in expected]


@pytest.mark.parametrize("mode", MODES)
def test_masks_that_are_added_to_scores_hide_what_was_taken_back_too(mode: str, tmp_path: Path) -> None:
    made = with_four("llama")
    made.model.set_attn_implementation("eager")
    with guarded(made, tmp_path) as guard:
        assert run(guard, PROMPTS[:1], **MODES[mode]) == [reference(made, PROMPTS[0]).tokens]


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a not in REFUSED])
def test_every_row_of_a_padded_batch_goes_back_by_itself(architecture: str, tmp_path: Path) -> None:
    made = with_four(architecture)
    expected = [reference(made, prompt) for prompt in PROMPTS]
    with guarded(made, tmp_path) as guard:
        assert run(guard, PROMPTS) == [told.tokens for told in expected]


@pytest.mark.parametrize("architecture", sorted(REFUSED))
def test_a_model_that_keeps_what_was_taken_back_is_refused_when_it_is_wrapped(
    architecture: str, tmp_path: Path
) -> None:
    made = with_four(architecture)
    with pytest.raises(UnsupportedError, match="revise"):
        guarded(made, tmp_path)


def test_a_window_is_refused_once_a_row_may_grow_out_of_it(tmp_path: Path) -> None:
    made = with_four("gemma2", sliding_window=64)
    expected = [reference(made, prompt) for prompt in PROMPTS]
    with guarded(made, tmp_path) as guard:
        assert run(guard, PROMPTS) == [told.tokens for told in expected]
        assert run(guard, PROMPTS, cache_implementation="static") == [told.tokens for told in expected]
        with pytest.raises(UnsupportedError, match="sliding_window: attention sees 64 columns"):
            run(guard, PROMPTS, tokens=60)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 2}, "num_beams"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens"),
        ({"min_new_tokens": 3}, "min_new_tokens"),
        ({"no_repeat_ngram_size": 2}, "no_repeat_ngram_size"),
        ({"output_hidden_states": True}, "output_hidden_states"),
        ({"cache_implementation": "quantized"}, "quantized"),
    ],
)
def test_settings_under_which_going_back_is_not_exact_are_refused_before_the_first_token(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    made = with_four("llama")
    with guarded(made, tmp_path) as guard, pytest.raises(UnsupportedError, match=said):
        run(guard, PROMPTS[:1], **options)


def test_the_scores_of_a_row_that_went_back_are_those_that_chose_what_stays(tmp_path: Path) -> None:
    made = with_four("llama")
    expected = [reference(made, prompt) for prompt in PROMPTS]
    with guarded(made, tmp_path) as guard:
        output = guard.generate(
            **batch(PROMPTS),
            max_new_tokens=TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            suppress_tokens=list(SPECIAL),
            return_dict_in_generate=True,
            output_logits=True,
            output_scores=True,
        )
    assert output.past_key_values is None
    assert len(output.logits) == len(output.scores) == TOKENS
    for place, told in enumerate(expected):
        found = torch.stack([step[place] for step in output.logits])
        assert torch.allclose(found, torch.stack(told.logits), atol=1e-4)
        chosen = torch.stack([step[place] for step in output.scores]).argmax(-1)
        assert chosen.tolist() == told.tokens


ONE_ROW = """
guardsteer: 1
name: one-row
context: {back: bool}
classifiers:
  said: {use: ./none, on: generation}
vectors:
  one: {use: ./none}
rules:
  - id: again
    when: request.back && said.score >= 0.7
    add: {vector: one, strength: 0.9}
    revise: {tokens: 4, most: 2, steps: 5, then: continue}
"""


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "without padding"])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_a_row_that_stays_is_the_bare_models_while_another_goes_back(
    kernel: str, padded: bool, tmp_path: Path
) -> None:
    """Bit for bit, unless the bare model's batch needs no mask: then another kernel rounds otherwise."""
    made = with_four("llama")
    made.model.set_attn_implementation(kernel)
    prompts = PROMPTS if padded else [prompt[:3] for prompt in PROMPTS]
    options: dict[str, Any] = {
        "max_new_tokens": TOKENS,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
        "return_dict_in_generate": True,
        "output_logits": True,
        "suppress_tokens": list(SPECIAL),
    }
    bare = made.model.generate(**batch(prompts), **options)
    with guarded(made, tmp_path, ONE_ROW, audit=tmp_path / "audit") as guard:
        given = [{"back": place == 1} for place in range(3)]
        output = guard.generate(**batch(prompts), guard=given, **options)
    revised = [stored.event for stored in read(tmp_path / "audit") if isinstance(stored.event, RowRevised)]
    assert len(revised) == 2
    assert output.sequences.shape == bare.sequences.shape
    for place in (0, 2):
        assert torch.equal(output.sequences[place], bare.sequences[place])
        for found, wanted in zip(output.logits, bare.logits, strict=True):
            if padded or kernel == "eager":
                assert torch.equal(found[place].view(torch.int32), wanted[place].view(torch.int32))
            else:
                assert torch.allclose(found[place], wanted[place], atol=1e-5)
    assert not torch.equal(output.sequences[1], bare.sequences[1])


class Dice:
    """Seeds the draws of a batch of one row by how many tokens the row has."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ids = input_ids[0].tolist()
        lead = next(place for place, token in enumerate(ids) if token != ids[0]) - 1
        torch.manual_seed(len(ids) - lead)
        return scores


def drawn(logits: Tensor, before: int) -> int:
    torch.manual_seed(before)
    return int(torch.multinomial(torch.softmax(logits, -1)[None], num_samples=1))


def test_sampling_goes_on_from_what_stays_as_if_nothing_else_had_been_drawn(tmp_path: Path) -> None:
    made = with_four("llama")
    expected = [reference(made, prompt, choose=drawn) for prompt in PROMPTS]
    assert any(told.dropped for told in expected)
    with guarded(made, tmp_path) as guard:
        for prompt, told in zip(PROMPTS, expected, strict=True):
            options: dict[str, Any] = {"do_sample": True, "top_k": 0, "logits_processor": [Dice()]}
            assert run(guard, [prompt], **options) == [told.tokens]


@pytest.mark.parametrize("mode", MODES)
def test_a_row_can_go_back_to_the_prompt_whose_end_is_then_decided_anew(mode: str, tmp_path: Path) -> None:
    made = with_four("llama")
    text = POLICY.replace(f"tokens: {DROP}", "tokens: 100")
    expected = [reference(made, prompt, drop=100) for prompt in PROMPTS]
    assert any(kept == 0 for told in expected for _, kept in told.dropped)
    with guarded(made, tmp_path, text) as guard:
        for prompt, told in zip(PROMPTS, expected, strict=True):
            assert run(guard, [prompt], **MODES[mode]) == [told.tokens]


def test_the_audit_tells_what_was_applied_and_what_was_taken_back(tmp_path: Path) -> None:
    made = with_four("llama")
    expected = [reference(made, prompt) for prompt in PROMPTS]
    with guarded(made, tmp_path, audit=tmp_path / "audit") as guard:
        run(guard, PROMPTS, guard=[{"request": str(place)} for place in range(3)])
    events = [stored.event for stored in read(tmp_path / "audit")]
    for place, told in enumerate(expected):
        mine: list[Any] = [event for event in events if getattr(event, "request", "") == str(place)]
        revised = [event for event in mine if isinstance(event, RowRevised)]
        prompt = len(PROMPTS[place])
        assert [(e.dropped, e.position - prompt) for e in revised] == told.dropped
        assert [e.revision for e in revised] == list(range(1, len(revised) + 1))
        # Replayed in order, activations leave at each position that stays what the reference steered there.
        acting: dict[str, tuple[int, float]] = {}
        laid: dict[tuple[str, int], float] = {}
        for event in mine:
            if isinstance(event, ActivationBegan):
                assert event.vector not in acting
                acting[event.vector] = event.position, event.applied
            elif isinstance(event, ActivationEnded):
                first, applied = acting.pop(event.vector)
                assert (first, applied) == (event.first, event.applied)
                laid.update({(event.vector, at): applied for at in range(first, event.last + 1)})
            elif isinstance(event, RowRevised):
                assert not acting, "what acted must have ended"
                # The last token that stays is computed anew.
                laid = {key: v for key, v in laid.items() if key[1] < event.position - 1}
        end: Any = next(event for event in mine if isinstance(event, RequestEnded))
        assert end.generated_tokens == TOKENS
        assert end.withheld_tokens == 0
        plans = told.plans
        found = [
            tuple(laid.get((name, prompt - 1 + n), 0.0) for name in ("one", "two", "four"))
            for n in range(TOKENS)
        ]
        assert found == [(one, two if n else 0.0, four) for n, (one, two, _, four) in enumerate(plans)]
        assert end.steered_tokens == sum(any(plan) or bool(plans[0][2]) for plan in found)


class Writer:
    """Makes the only row of a batch write ``scripts``: the first until it goes back, then the next."""

    def __init__(self, made: Bench, prompt: list[int], *scripts: str) -> None:
        self.made = made
        self.prompt = len(prompt)
        self.scripts = list(scripts)
        self.last = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ids = input_ids[0].tolist()
        lead = next(place for place, token in enumerate(ids) if token != ids[0]) - 1
        own = len(ids) - lead - self.prompt
        if own < self.last:
            del self.scripts[0]
        self.last = own
        # What is chosen where a row goes back does not count.
        (token,) = self.made.tokenizer(self.scripts[0][own : own + 1] or ".")["input_ids"]
        scores = torch.full_like(scores, -torch.inf)
        scores[0, token] = 0.0
        return scores


SAID = """
guardsteer: 1
name: said
classifiers:
  words: {literals: [bad, worse], on: generation}
vectors:
  one: {use: ./none}
flags:
  heard: {signal: words.match, enter: 1.0}
rules:
  - id: again
    when: heard
    add: {vector: one, strength: 0.5}
    revise: {back_to: sentence, most: 2, steps: 8, then: halt}
fallback: "No."
"""


def written(made: Bench, folder: Path, text: str, scripts: list[str], **options: Any) -> str:
    prompt = PROMPTS[0]
    with guarded(made, folder, text, audit=folder / "audit") as guard:
        writer = Writer(made, prompt, *scripts)
        tokens = {"tokens": 20, "logits_processor": [writer], "eos_token_id": 2, **options}
        (ids,) = run(guard, [prompt], suppress_tokens=None, **tokens)
    said: str = made.tokenizer.decode(ids, skip_special_tokens=True)
    return said


@pytest.mark.parametrize(
    ("change", "scripts", "expected", "dropped"),
    [
        ("", ["One. Two bad. Three", "One. Two good. Three"], "One. Two good. Three", [7]),
        ("per: sentence", ["One. Two bad. Three", "One. Two good. Three"], "One. Two good. Three", [9]),
        ("", ["Two bad. Three", "Two good. Three four"], "Two good. Three four", [7]),
        ("", ["A. B bad", "A. B worse", "A. C fine. D fine. E"], "A. C fine. D fine. E", [5, 7]),
        ("", ["A. bad", "A. worse", "A. bad"], "A. badNo.", [3, 5]),
    ],
)
def test_a_rule_takes_back_the_sentence_that_it_fired_for(
    change: str, scripts: list[str], expected: str, dropped: list[int], tmp_path: Path
) -> None:
    made = with_four("llama")
    text = SAID.replace("enter: 1.0}", f"enter: 1.0, {change}}}")
    assert written(made, tmp_path, text, scripts) == expected
    events = [stored.event for stored in read(tmp_path / "audit")]
    assert [e.dropped for e in events if isinstance(e, RowRevised)] == dropped


def test_a_flag_over_time_counts_only_what_stays(tmp_path: Path) -> None:
    """After a revision the flag needs as many bad tokens again as it would in a text without the others."""
    made = with_four("llama")
    text = SAID.replace("literals: [bad, worse]", "patterns: [x$]").replace("back_to: sentence", "tokens: 2")
    text = text.replace("enter: 1.0}", "enter: 1.0, after: 3}").replace("on: generation", "on: generation")
    # Up at the third x; two go. One x is left, so another two would be needed.
    said = written(made, tmp_path, text, ["abxxx", "abxxoxxoxxoxxoxxoxxo"])
    assert said == "abxxoxxoxxoxxoxxoxxo"


def test_a_condition_that_still_holds_goes_back_further(tmp_path: Path) -> None:
    made = with_four("llama")
    text = SAID.replace("when: heard", "when: step >= 6").replace("back_to: sentence", "tokens: 2")
    # At step 6 two go, and at step 7, where the fourth is decided anew, two more; then the row ends.
    assert written(made, tmp_path, text, ["abcdefghij"] * 3) == "abNo."
    events = [stored.event for stored in read(tmp_path / "audit")]
    assert [(e.step, e.position - 7) for e in events if isinstance(e, RowRevised)] == [(6, 4), (7, 2)]


def test_a_prompt_that_would_be_taken_back_only_starts_the_steering(tmp_path: Path) -> None:
    made = with_four("llama")
    text = SAID.replace("when: heard", "when: step == 0")
    assert written(made, tmp_path, text, ["abcdefghijklmnopqrst"]) == "abcdefghijklmnopqrst"
    events = [stored.event for stored in read(tmp_path / "audit")]
    assert [e.dropped for e in events if isinstance(e, RowRevised)] == [0]
    assert [e.position - 7 for e in events if isinstance(e, ActivationBegan)] == [0]


@pytest.mark.parametrize(
    ("stop", "scripts", "expected"),
    [
        ("y", ["ab. bad", "ab. good!y and more of it"], "ab. good!y"),
        # What was taken back stops no row together with what stays.
        ("d g", ["ab. bad", "ab. good!y and more of it"], "ab. good!y and more "),
        ("x", ["abx bad", "ab. good!y and more of it"], "abx"),
    ],
)
def test_a_row_that_went_back_ends_like_any_other(
    stop: str, scripts: list[str], expected: str, tmp_path: Path
) -> None:
    made = with_four("llama")
    options: dict[str, Any] = {"stop_strings": [stop], "tokenizer": made.tokenizer}
    assert written(made, tmp_path, SAID, scripts, **options) == expected


PROBED = f"""
guardsteer: 1
name: probed
classifiers:
  seen: {{use: ./none, on: all}}
vectors:
  late: {{use: ./none, positions: [last_prompt_token, generated]}}
rules:
  - id: again
    when: seen.score >= 0.6
    add: {{vector: late, strength: 0.9}}
    revise: {{tokens: {DROP}, most: {MOST}, steps: {STEPS}, then: continue}}
"""


def probed_reference(made: Bench, late: Vector, prompt: list[int]) -> Told:
    """As ``reference``, for a probe in front of all that steers: its scores depend on tokens alone."""
    told = Told()
    plans: list[tuple[float, ...]] = []
    step, left, until = 0, MOST, -1
    probe = probe_of(made)
    while len(told.tokens) < TOKENS:
        ids = torch.tensor([prompt + told.tokens])
        seen: list[float] = []
        handle = (
            find_layout(made.model)
            .blocks[probe.block]
            .register_forward_hook(
                lambda _, __, output, seen=seen: seen.append(float(probe.score(output)[0, -1, 0]))
            )
        )
        with torch.no_grad():
            made.model(input_ids=ids, use_cache=False)
        handle.remove()
        forced = step <= until
        if seen[0] >= 0.6 and left:
            left, until = left - 1, step + STEPS
            kept = max(0, len(told.tokens) - DROP)
            told.dropped.append((len(told.tokens) - kept, kept))
            if told.tokens:
                del told.tokens[kept:], plans[kept:]
                step += 1
                continue
            # Nothing to take back: the prompt's pass goes on as the rule that takes back leaves it.
            plans.append((0.0,))
        else:
            plans.append((0.9 if forced or seen[0] >= 0.6 else 0.0,))
        with steered(made.model, [late], [(0.0,)] * (len(prompt) - 1) + plans), torch.no_grad():
            logits = made.model(input_ids=ids, use_cache=False).logits[0, -1].clone()
        logits[list(SPECIAL)] = -torch.inf
        told.tokens.append(int(logits.argmax()))
        step += 1
    return told


@pytest.mark.parametrize("mode", MODES)
def test_a_probe_can_take_back_what_it_reads_in_the_pass_under_way(mode: str, tmp_path: Path) -> None:
    made = with_four("llama")
    late = random_vector(made.model, made.tokenizer, "late", (2, 3), 23)
    expected = [probed_reference(made, late, prompt) for prompt in PROMPTS]
    assert any(dropped for told in expected for dropped, _ in told.dropped)
    guard = guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(tmp_path, PROBED),
        vectors={"late": late},
        classifiers={"seen": probe_of(made)},
    )
    with guard:
        for prompt, told in zip(PROMPTS, expected, strict=True):
            assert run(guard, [prompt], **MODES[mode]) == [told.tokens]
        if mode != "chunked prefill":
            assert run(guard, PROMPTS, **MODES[mode]) == [told.tokens for told in expected]


def test_each_returned_sequence_of_a_request_goes_back_by_itself(tmp_path: Path) -> None:
    """Whether drawn tokens stay is told from the text of their own sequence."""
    made = with_four("llama")
    text = ONE_ROW.replace("request.back && ", "").replace("tokens: 4, most: 2", "tokens: 1, most: 50")
    text = text.replace("0.7", "0.8")
    with guarded(made, tmp_path, text, audit=tmp_path / "audit") as guard:
        torch.manual_seed(1)
        found = run(guard, PROMPTS[:2], do_sample=True, num_return_sequences=3)
    events = [stored.event for stored in read(tmp_path / "audit")]
    revised = [e for e in events if isinstance(e, RowRevised)]
    assert len({(e.request, e.sequence) for e in revised}) >= 3
    assert max(e.revision for e in revised) < 50
    assert len(found) == 6
    for row in found:
        assert len(row) == TOKENS
        written = [made.tokenizer.decode(row[:n]) for n in range(1, TOKENS)]
        assert all(score_of(1, said) < 0.8 for said in written), "what was flagged must not stay"


def test_going_back_and_its_steering_stop_and_go_on_with_the_kill_switch(tmp_path: Path) -> None:
    """While it is thrown rows still go back, and nothing is steered: the same text comes again."""
    made = with_four("llama")
    bare = run(made.model, PROMPTS)
    with guarded(made, tmp_path, audit=tmp_path / "audit") as guard:
        guard.stop()
        assert run(guard, PROMPTS) == bare
    events = [stored.event for stored in read(tmp_path / "audit")]
    assert any(isinstance(e, RowRevised) for e in events)
    assert not any(isinstance(e, ActivationBegan) for e in events)


def test_after_a_revision_other_requests_and_the_bare_model_are_as_before(tmp_path: Path) -> None:
    made = with_four("llama")
    bare = run(made.model, PROMPTS)
    with guarded(made, tmp_path) as guard:
        first = run(guard, PROMPTS)
        assert run(guard, PROMPTS) == first
    assert run(made.model, PROMPTS) == bare != first


def test_a_row_may_have_as_many_tokens_as_without_a_revision(tmp_path: Path) -> None:
    """However the limit is given, and also by a configuration."""
    made = with_four("llama")
    config = GenerationConfig(
        max_new_tokens=TOKENS, do_sample=False, pad_token_id=0, suppress_tokens=list(SPECIAL)
    )
    width = max(map(len, PROMPTS))
    with guarded(made, tmp_path) as guard:
        wanted = run(guard, PROMPTS)
        assert {len(row) for row in wanted} == {TOKENS}
        assert run(guard, PROMPTS, max_new_tokens=None, max_length=width + TOKENS) == wanted
        made.model.generation_config.eos_token_id = None
        ids = guard.generate(**batch(PROMPTS), generation_config=config)
        assert ids[:, width:].tolist() == wanted
        assert config.max_new_tokens == TOKENS


def test_what_acts_on_generated_tokens_alone_leaves_the_prompts_end_alone_when_that_is_decided_anew(
    tmp_path: Path,
) -> None:
    """The plan stays the same from the prompt's end to the first token, and what it does there does not."""
    made = with_four("llama")
    text = """
guardsteer: 1
name: from-the-start
vectors:
  two: {use: ./none, positions: [generated]}
rules:
  - id: again
    when: step == 3
    add: {vector: two, strength: 1.5}
    revise: {tokens: 100, most: 1, then: continue}
"""
    bare = run(made.model, PROMPTS[:1])[0]
    guard = guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(tmp_path, text),
        vectors={"two": made.vectors["two"]},
    )
    with guard:
        found = run(guard, PROMPTS[:1])[0]
        assert run(guard, PROMPTS[:1], use_cache=False)[0] == found
    assert found[0] == bare[0], "the first token is chosen at the prompt's end"
    rows = [(0.0,)] * len(PROMPTS[0]) + [(1.5,)] * (TOKENS - 1)
    for n in range(1, TOKENS):
        with steered(made.model, [made.vectors["two"]], rows[: len(PROMPTS[0]) + n]), torch.no_grad():
            logits = made.model(input_ids=torch.tensor([PROMPTS[0] + found[:n]])).logits[0, -1]
        logits[list(SPECIAL)] = -torch.inf
        assert int(logits.argmax()) == found[n]
    assert found != bare


def test_the_audit_ends_with_the_text_what_had_acted_before_a_probe_took_it_back(tmp_path: Path) -> None:
    made = with_four("llama")
    late = random_vector(made.model, made.tokenizer, "late", (2, 3), 23)
    early = random_vector(made.model, made.tokenizer, "early", (0,), 29)
    text = PROBED.replace("vectors:", "vectors:\n  early: {use: ./none, positions: [generated]}")
    text += "  - {id: always, when: step >= 0, add: {vector: early, strength: 0.1}}\n"
    guard = guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(tmp_path, text),
        vectors={"late": late, "early": early},
        classifiers={"seen": probe_of(made)},
        audit=tmp_path / "audit",
    )
    with guard:
        run(guard, PROMPTS)
    acting: dict[tuple[str, str], int] = {}
    ended: dict[str, int] = {}
    count = 0
    for event in [stored.event for stored in read(tmp_path / "audit")]:
        if isinstance(event, ActivationBegan):
            acting[event.request, event.vector] = event.position
        elif isinstance(event, ActivationEnded):
            assert acting.pop((event.request, event.vector)) == event.first
            ended[event.request] = event.last
        elif isinstance(event, RowRevised) and event.dropped:
            count += 1
            assert not any(request == event.request for request, _ in acting)
            assert ended[event.request] == event.position + event.dropped - 1
    assert count


def test_what_acts_before_and_after_a_revision_alike_is_told_as_two(tmp_path: Path) -> None:
    made = with_four("llama")
    text = """
guardsteer: 1
name: steady
vectors:
  one: {use: ./none, positions: [last_prompt_token, generated]}
rules:
  - {id: warm, when: step >= 0, add: {vector: one, strength: 0.3}}
  - {id: again, when: step == 6, revise: {tokens: 2, most: 1, then: continue}}
"""
    guard = guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(tmp_path, text),
        vectors={"one": made.vectors["one"]},
        audit=tmp_path / "audit",
    )
    with guard:
        run(guard, PROMPTS[:1], tokens=9)
    events = [stored.event for stored in read(tmp_path / "audit")]
    first = len(PROMPTS[0]) - 1
    # The step that takes back steers nothing; the fourth token is computed anew.
    ended = [(e.first - first, e.last - first) for e in events if isinstance(e, ActivationEnded)]
    assert ended == [(0, 5), (4, 8)]


def test_a_row_that_a_stop_string_has_ended_does_not_go_back_while_another_goes_on(tmp_path: Path) -> None:
    made = with_four("llama")
    scripts = [made.tokenizer(text)["input_ids"] for text in ("ab bad and more", "xyzxyzxyzxyz")]

    def write(input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = torch.full_like(scores, -torch.inf)
        for place, script in enumerate(scripts):
            scores[place, script[input_ids.shape[1] - len(PROMPTS[0])]] = 0.0
        return scores

    options: dict[str, Any] = {"logits_processor": [write], "stop_strings": ["d"], "eos_token_id": 2}
    with guarded(made, tmp_path, SAID, audit=tmp_path / "audit") as guard:
        prompts = [PROMPTS[0], PROMPTS[0]]
        ids = run(guard, prompts, 10, suppress_tokens=None, tokenizer=made.tokenizer, **options)
    assert [made.tokenizer.decode(row, skip_special_tokens=True) for row in ids] == ["ab bad", "xyzxyzxyzx"]
    assert not any(isinstance(stored.event, RowRevised) for stored in read(tmp_path / "audit"))
