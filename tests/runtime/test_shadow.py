"""In shadow everything is evaluated and told, and nothing is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from guardsteer.audit import read, verify
from guardsteer.core.events import RequestStarted
from guardsteer.core.policy import Binding
from guardsteer.errors import PolicyError
from guardsteer.rules.rollout import is_within
from guardsteer.runtime.auditing import Blackout
from tests.models import tiny
from tests.runtime.harness import POLICY, LastCharacters, LastState, batch, bench
from tests.runtime.telling import PROMPTS, TOKENS, kinds, run, strengths, told, wrap

SHADOW = Binding(mode="shadow")
HALTING = POLICY + '  - {id: stop, when: said.score >= 0.9, halt: true}\nfallback: "No."\n'
WAYS: dict[str, dict[str, Any]] = {
    "cache": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "chunked": {"prefill_chunk_size": 3},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
    "beams": {"num_beams": 3},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_shadow_runs_tokens_are_the_bare_models(way: str, tmp_path: Path) -> None:
    made = bench("llama")
    prompts = PROMPTS[:1] if way == "prompt lookup" else PROMPTS
    bare = run(made.model, prompts, **WAYS[way])
    with wrap(made, tmp_path, HALTING, binding=SHADOW) as guard:
        assert run(guard, prompts, guard=[{}] * len(prompts), **WAYS[way]) == bare
    with wrap(made, tmp_path, HALTING) as guard:
        assert run(guard, prompts, **WAYS[way]) != bare, "the policy must matter for this to mean anything"
    assert "ActivationBegan" in kinds(told(tmp_path, "r0"))
    assert verify(tmp_path / "log").ok


def test_a_shadow_runs_logits_are_the_bare_models_bit_for_bit(tmp_path: Path) -> None:
    made = bench("llama")
    options: dict[str, Any] = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None}
    options |= {"return_dict_in_generate": True, "output_logits": True}
    inputs = batch(PROMPTS)
    bare = made.model.generate(**inputs, **options)
    with wrap(made, tmp_path, HALTING, binding=SHADOW) as guard:
        shadow = guard.generate(**inputs, **options)
    for a, b in zip(bare.logits, shadow.logits, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_a_shadow_run_tells_what_the_enforced_run_does_up_to_the_first_steered_token(tmp_path: Path) -> None:
    made = bench("llama")
    logs = {}
    for name, binding in (("enforce", None), ("shadow", SHADOW)):
        folder = tmp_path / name
        folder.mkdir()
        with wrap(made, folder, binding=binding) as guard:
            run(guard, guard=[{}] * 3)
        logs[name] = [told(folder, f"r{n}", without=("mode", "guard", "prompt_digest")) for n in range(3)]
    for prompt, enforced, shadow in zip(PROMPTS, logs["enforce"], logs["shadow"], strict=True):
        first = min(event["position"] for event in enforced if event["kind"] == "ActivationBegan")
        # What is decided at a step hangs on the tokens before the one that its pass chooses.
        step = max(0, first - len(prompt) + 1)
        before = [event for event in enforced if _step(event, prompt) <= step]
        assert before == [event for event in shadow if _step(event, prompt) <= step]
        assert "ActivationBegan" in kinds(before)


def _step(event: dict[str, Any], prompt: list[int]) -> int:
    if "step" in event:
        return int(event["step"])
    if event["kind"] == "ActivationBegan":
        return max(0, int(event["position"]) - len(prompt) + 1)
    return 0 if event["kind"] == "RequestStarted" else 1000


@pytest.mark.parametrize("way", WAYS)
def test_where_steering_changes_no_token_the_shadow_run_tells_all_that_the_enforced_one_does(
    way: str, tmp_path: Path
) -> None:
    """With strengths too small to change a token, both runs see one text; only the mode differs."""
    made = bench("llama")
    text = POLICY.replace("0.8}", "8.0e-9}").replace("0.5}", "5.0e-9}").replace("0.3}\n", "3.0e-9}\n")
    prompts = PROMPTS[:1] if way == "prompt lookup" else PROMPTS
    logs, tokens = [], []
    for name, binding in (("enforce", None), ("shadow", SHADOW)):
        folder = tmp_path / name
        folder.mkdir()
        with wrap(made, folder, text, binding=binding) as guard:
            tokens.append(run(guard, prompts, guard=[{}] * len(prompts), **WAYS[way]))
        without = ("guard", "output_digest", "prompt_digest", "steered_tokens")
        logs.append([told(folder, f"r{n}", without=without) for n in range(len(prompts))])
    assert tokens[0] == tokens[1]
    for enforced, shadow in zip(*logs, strict=True):
        assert kinds(enforced).count("ActivationEnded") > 2
        assert {event["mode"] for event in shadow if "mode" in event} == {"shadow"}
        assert [{**event, "mode": ""} for event in enforced] == [{**event, "mode": ""} for event in shadow]


def test_the_log_of_a_shadow_run_rebuilds_what_every_position_would_have_got(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, binding=SHADOW) as guard:
        found = run(guard, guard=[{}] * 3)
    for n, (prompt, written) in enumerate(zip(PROMPTS, found, strict=True)):
        expected = made.reference.strengths(prompt, written[:-1])
        assert strengths(tmp_path, f"r{n}", len(expected), mode="shadow") == expected
        assert not any(map(any, strengths(tmp_path, f"r{n}", len(expected))))
        assert told(tmp_path, f"r{n}")[-1]["steered_tokens"] == 0


def test_a_rule_alone_in_shadow_is_told_beside_the_others_that_act(tmp_path: Path) -> None:
    made = bench("llama")
    rest = POLICY.replace("when: said.score >= 0.4", 'when: "false"')
    (tmp_path / "rest").mkdir()
    with wrap(made, tmp_path / "rest", rest) as guard:
        expected = run(guard)
    with wrap(made, tmp_path, binding=Binding(rules=(("pull", "shadow"),))) as guard:
        found = run(guard, guard=[{}] * 3)
    assert found == expected
    for n, (prompt, written) in enumerate(zip(PROMPTS, found, strict=True)):
        rows = made.reference.strengths(prompt, written[:-1])
        acted = strengths(tmp_path, f"r{n}", len(rows))
        would = strengths(tmp_path, f"r{n}", len(rows), mode="shadow")
        assert acted == [(one, 0.0, three) for one, _, three in rows]
        assert would == [(0.0, two, 0.0) for _, two, _ in rows]
    events = [event for n in range(3) for event in told(tmp_path, f"r{n}")]
    fired = {(event["rule"], event["mode"]) for event in events if event["kind"] == "RuleFired"}
    assert fired == {("push", "enforce"), ("pull", "shadow"), ("whole", "enforce")}


def test_a_rule_in_shadow_that_would_outrank_another_is_told_and_the_other_acts(tmp_path: Path) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: ranks\nvectors: {one: {use: ./none, positions: [generated]}}\nrules:\n"
        "  - {id: low, when: step >= 2, add: {vector: one, strength: 0.5}}\n"
        "  - {id: high, when: step >= 4, priority: 1, add: {vector: one, strength: 0.9}}\n"
        "  - {id: never, when: step >= 8, disable: one}\n"
        "binding: {rules: {high: shadow, never: shadow}}\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, PROMPTS[:1], guard=[{}])
    n, last = len(PROMPTS[0]), len(PROMPTS[0]) - 1 + TOKENS - 1
    ended = [event for event in told(tmp_path, "r0") if event["kind"] == "ActivationEnded"]
    spans = {(e["rule"], e["mode"], e["first"], e["last"], e["applied"]) for e in ended}
    assert spans == {("low", "enforce", n + 1, last, 0.5), ("high", "shadow", n + 3, n + 6, 0.9)}


def test_a_halt_in_shadow_is_told_whenever_it_begins_and_ends_no_row(tmp_path: Path) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: stops\nfallback: 'No.'\nvectors: {one: {use: ./none}}\nrules:\n"
        "  - {id: push, when: step >= 0, add: {vector: one, strength: 0.5}}\n"
        "  - {id: stop, when: step == 3 || step == 4 || step == 8, halt: true}\n"
        "binding: {mode: shadow}\n"
    )
    bare = run(made.model, PROMPTS[:1])
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        assert run(guard, PROMPTS[:1], guard=[{}]) == bare
    events = told(tmp_path, "r0")
    halts = [event for event in events if event["kind"] == "RowHalted"]
    n = len(PROMPTS[0])
    assert [(e["rule"], e["step"], e["position"], e["mode"]) for e in halts] == [
        ("stop", 3, n + 3, "shadow"),
        ("stop", 8, n + 8, "shadow"),
    ]
    assert events[-1]["reason"] == "length_or_stop"
    ended = [(e["first"], e["last"]) for e in events if e["kind"] == "ActivationEnded"]
    assert ended == [(n, n + 1), (n + 4, n + 6), (n + 8, n - 1 + TOKENS - 1)]


class Counted(LastCharacters):
    """Counts how often it was begun, over all rows."""

    begun = 0

    def start(self) -> LastState:
        type(self).begun += 1
        return super().start()


def test_a_policy_that_is_off_reads_nothing_and_leaves_the_row_bare(tmp_path: Path) -> None:
    made = bench("llama")
    Counted.begun = 0
    bare = run(made.model)
    readers = {"asked": Counted(2), "said": Counted(1)}
    with wrap(made, tmp_path, HALTING, classifiers=readers, binding=Binding(mode="off")) as guard:
        assert run(guard, guard=[{}] * 3) == bare
        assert run(guard, PROMPTS[:1], guard=[{}], assistant_model=tiny("llama", seed=0)) == bare[:1]
    assert Counted.begun == 0
    assert kinds(told(tmp_path, "r1")) == ["RequestStarted", "RequestEnded"]
    assert told(tmp_path, "r1")[0]["mode"] == "off"


def test_a_rule_that_is_off_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    made = bench("llama")
    (tmp_path / "rest").mkdir()
    with wrap(made, tmp_path / "rest", POLICY.split("  - id: pull")[0]) as guard:
        expected = run(guard)
    with wrap(made, tmp_path, binding=Binding(rules=(("pull", "off"), ("whole", "off")))) as guard:
        assert run(guard, guard=[{}] * 3) == expected
    rules = {event["rule"] for n in range(3) for event in told(tmp_path, f"r{n}") if "rule" in event}
    assert rules == {"push"}


def test_a_binding_file_stands_in_the_place_of_the_policys_own(tmp_path: Path) -> None:
    made = bench("llama")
    path = tmp_path / "binding.yaml"
    path.write_text("mode: shadow\nrules: {pull: 'off'}\n")
    with wrap(
        made, tmp_path, POLICY + "binding: {mode: off}\n".replace("off", "'off'"), binding=path
    ) as guard:
        assert guard.policy.binding == Binding(mode="shadow", rules=(("pull", "off"),))
        assert run(guard) == run(made.model)
    path.write_text("mode: shadow\nrules: {pul: 'off'}\n")
    with pytest.raises(PolicyError, match="pul"):
        wrap(made, tmp_path, binding=str(path))
    with pytest.raises(PolicyError, match="pul"):
        wrap(made, tmp_path, binding=Binding(rules=(("pul", "off"),)))


def test_the_mode_is_on_record_with_the_request(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, binding=SHADOW) as guard:
        run(guard, PROMPTS[:1], guard=[{}])
    started = [s.event for s in read(tmp_path / "log", "r0") if isinstance(s.event, RequestStarted)]
    assert [event.mode for event in started] == ["shadow"]


TEXT = "Well. It is so. And then it was not, as"
BACK = {
    "tokens": "{tokens: 5}",
    "more tokens than there are": "{tokens: 50}",
    "sentence": "{back_to: sentence}",
}


def forced(tokenizer: Any, text: str, width: int) -> Any:
    """Return what makes ``generate`` write ``text``, whatever the model thinks."""
    ids = tokenizer(text)["input_ids"]
    return lambda _, so_far: [ids[min(len(so_far) - width, len(ids) - 1)]]


@pytest.mark.parametrize("step", [1, 5, 6, 9, 15, 16, 17, 30])
@pytest.mark.parametrize("back", BACK)
def test_a_revision_in_shadow_is_told_as_the_enforced_one_is_and_takes_nothing_back(
    back: str, step: int, tmp_path: Path
) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: again\nfallback: 'No.'\nvectors: {one: {use: ./none}}\nrules:\n"
        f"  - id: again\n    when: step == {step}\n    revise: {BACK[back]}\n"
        "    add: {vector: one, strength: 0.5}\n"
    )
    told_in = {}
    allowed = forced(made.tokenizer, TEXT, len(PROMPTS[0]))
    for name, binding in (("enforce", None), ("shadow", SHADOW)):
        folder = tmp_path / name
        folder.mkdir()
        options = {"max_new_tokens": len(TEXT), "prefix_allowed_tokens_fn": allowed, "suppress_tokens": None}
        with wrap(made, folder, text, classifiers={}, binding=binding) as guard:
            found = run(guard, PROMPTS[:1], guard=[{}], **options)
        told_in[name] = [e for e in told(folder, "r0", without=("mode",)) if e["kind"] == "RowRevised"]
    assert told_in["enforce"][:1] == told_in["shadow"]
    assert made.tokenizer.decode(found[0]) == TEXT


@pytest.mark.parametrize("then", ["halt", "continue"])
def test_revisions_in_shadow_are_counted_as_enforced_ones_are(then: str, tmp_path: Path) -> None:
    """After the last one that the rule has, its condition would have ended the row, or done nothing."""
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: again\nfallback: 'No.'\nvectors: {one: {use: ./none}}\nrules:\n"
        "  - id: again\n    when: step == 2 || step == 4 || step == 5 || step == 8\n"
        "    add: {vector: one, strength: 0.5}\n    "
        f"revise: {{tokens: 1, most: 2, then: {then}}}\n"
        "binding: {rules: {again: shadow}}\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        assert run(guard, PROMPTS[:1], guard=[{}]) == run(made.model, PROMPTS[:1])
    events = told(tmp_path, "r0")
    revised = [(e["step"], e["dropped"], e["revision"]) for e in events if e["kind"] == "RowRevised"]
    assert revised == [(2, 1, 1), (4, 1, 2)]
    assert [e["step"] for e in events if e["kind"] == "RowHalted"] == ([8] if then == "halt" else [])
    assert {e["mode"] for e in events if e["kind"] in ("RowRevised", "RowHalted")} == {"shadow"}


def test_a_revision_that_happens_is_not_told_as_one_that_would_have(tmp_path: Path) -> None:
    """Also where another rule in shadow makes a difference at the same step."""
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: again\nvectors: {one: {use: ./none}, two: {use: ./none}}\nrules:\n"
        "  - id: again\n    when: step == 5\n    revise: {tokens: 2, then: continue}\n"
        "    add: {vector: one, strength: 0.5}\n"
        "  - {id: stop, when: step == 5, priority: 2, hold_back: 3}\n"
        "  - {id: would, when: step >= 2, add: {vector: two, strength: 0.5}}\n"
        "binding: {rules: {would: shadow, stop: shadow}}\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, PROMPTS[:1], guard=[{}])
    revised = [e for e in told(tmp_path, "r0") if e["kind"] == "RowRevised"]
    assert [(e["step"], e["mode"]) for e in revised] == [(5, "enforce")]


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_a_log_that_cannot_be_written_ends_no_row_that_the_policy_does_not_act_on(
    mode: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = bench("llama")
    bare = run(made.model, suppress_tokens=[0, 1])
    text = POLICY + "audit: {on_error: halt}\nfallback: 'No.'\n"
    binding = Binding(percent=50.0, by="request.tenant", otherwise=mode)
    inside = next(f"t{n}" for n in range(99) if is_within(f"t{n}", 50.0))
    outside = next(f"t{n}" for n in range(99) if not is_within(f"t{n}", 50.0))
    with wrap(made, tmp_path, text, binding=binding) as guard:
        monkeypatch.setattr(Blackout, "active", lambda _: True)
        tenants = [{"tenant": tenant} for tenant in (outside, inside, outside)]
        found = run(guard, guard=tenants, suppress_tokens=[0, 1])
        monkeypatch.undo()
    fallback = [*made.tokenizer("No.")["input_ids"], 2]
    assert found[1][: len(fallback)] == fallback
    assert [found[0], found[2]] == [bare[0], bare[2]]


REVISING = POLICY + (
    "  - {id: again, when: said.score >= 0.9, add: {vector: one, strength: 0.9}, revise: {tokens: 3}}\n"
    "  - {id: wait, when: step >= 0, hold_back: 2}\nfallback: 'No.'\n"
)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"prompt_lookup_num_tokens": 4}])
def test_a_policy_that_would_revise_and_hold_back_does_neither_in_shadow(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """So it runs in every way of decoding, also where it could not act exactly."""
    made = bench("llama")
    prompts = PROMPTS[:1] if "prompt_lookup_num_tokens" in options else PROMPTS
    bare = run(made.model, prompts, **options)
    with wrap(made, tmp_path, REVISING, binding=SHADOW) as guard:
        assert run(guard, prompts, guard=[{}] * len(prompts), **options) == bare


def test_in_shadow_a_streamer_gets_every_token_at_once(tmp_path: Path) -> None:
    made = bench("llama")

    class Streamer:
        def __init__(self) -> None:
            self.put_: list[int] = []

        def put(self, ids: torch.Tensor) -> None:
            self.put_.append(ids.numel())

        def end(self) -> None:
            pass

    streamer = Streamer()
    with wrap(made, tmp_path, REVISING, binding=SHADOW) as guard:
        run(guard, PROMPTS[:1], streamer=streamer)
    assert streamer.put_ == [len(PROMPTS[0])] + [1] * TOKENS


@pytest.mark.parametrize("mode", ["shadow", "off"])
@pytest.mark.parametrize("text", [HALTING, POLICY + "audit: {on_error: halt}\nfallback: 'No.'\n"])
def test_a_policy_that_cannot_act_is_not_refused_for_what_only_acting_needs(
    text: str, mode: Any, tmp_path: Path
) -> None:
    """With beams, a halted row needs a token that ends it; in shadow none is halted."""
    made = bench("llama")
    options: dict[str, Any] = {"num_beams": 2, "eos_token_id": None}
    bare = run(made.model, **options)
    with wrap(made, tmp_path, text, binding=Binding(mode=mode)) as guard:
        assert run(guard, **options) == bare


def test_the_kill_switch_makes_no_rule_that_acts_look_as_if_it_were_in_shadow(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, binding=Binding(rules=(("pull", "shadow"),))) as guard:
        guard.stop()
        assert run(guard, guard=[{}] * 3) == run(made.model)
    began = [e for n in range(3) for e in told(tmp_path, f"r{n}") if e["kind"] == "ActivationBegan"]
    assert {(event["rule"], event["mode"]) for event in began} == {("pull", "shadow")}


@pytest.mark.parametrize("first", ["acts", "would"])
def test_what_would_act_is_cut_to_the_budget_together_with_what_acts(first: str, tmp_path: Path) -> None:
    """From the token on at which the second of them begins."""
    made = bench("llama")
    begin = {"acts": 4, "would": 4, first: 2}
    text = (
        "guardsteer: 1\nname: both\nbudget: 0.6\nvectors:\n"
        "  one: {use: ./none, positions: [generated]}\n  two: {use: ./none, positions: [generated]}\nrules:\n"
        f"  - {{id: acts, when: step >= {begin['acts']}, add: {{vector: one, strength: 0.5}}}}\n"
        f"  - {{id: would, when: step >= {begin['would']}, add: {{vector: two, strength: 0.5}}}}\n"
        "binding: {rules: {would: shadow}}\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, PROMPTS[:1], guard=[{}])
    began = [e for e in told(tmp_path, "r0") if e["kind"] == "ActivationBegan"]
    assert all("limits" not in event for event in began if event["rule"] == "acts")
    would = [event for event in began if event["rule"] == "would"]
    n = len(PROMPTS[0])
    spans = [(event["position"], event.get("limits", [])) for event in would]
    assert spans == [(n + 1, []), (n + 3, ["budget"])][-1 if first == "acts" else 0 :]
    alone = made.vectors["one"].direction(2), made.vectors["two"].direction(2)
    together = float(((0.5 * alone[0] + 0.5 * alone[1]) ** 2).sum() ** 0.5)
    assert would[-1]["applied"] == pytest.approx(0.5 * 0.6 / together, rel=1e-4)
