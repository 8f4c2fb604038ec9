"""Candidates see what the policy in force sees, tell what they would do, and do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from guardsteer.audit import open_journal, read, verify
from guardsteer.classify.probe import Probe
from guardsteer.core.events import PolicyAdopted, RequestFailed, RowHalted, RuleFired
from guardsteer.core.policy import Binding
from guardsteer.errors import AssetError, PolicyError
from guardsteer.evaluate.compare import compare
from guardsteer.host import fingerprint
from guardsteer.rules import load_policy
from tests.models import WIDTH, tiny
from tests.runtime.harness import POLICY, LastCharacters, LastState, bench
from tests.runtime.telling import PROMPTS, TOKENS, kinds, run, strengths, told, wrap

WAYS: dict[str, dict[str, Any]] = {
    "cache": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "chunked": {"prefill_chunk_size": 3},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
    "assistant": {"assistant": True},
    "twin assistant": {"assistant": True, "seed": 0},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "beams without cache": {"num_beams": 3, "use_cache": False},
}
OTHER = POLICY.replace("name: scripted", "name: other").replace("strength: 0.8", "strength: 0.2")
PROBED = """
guardsteer: 1
name: probed
classifiers:
  said: {use: ./none, on: generation}
  seen: {use: ./none, on: all}
flags:
  high: {signal: seen.score, enter: 0.5, exit: 0.45}
vectors:
  two: {use: ./none, positions: [last_prompt_token, generated]}
rules:
  - {id: text, when: said.score >= 0.4 && !high, subtract: {vector: two, strength: 0.5}}
  - {id: gate, when: high, add: {vector: two, strength: 0.7}}
"""
IDLE = "guardsteer: 1\nname: idle\nvectors: {one: {use: ./none}}\nrules:\n"
IDLE += "  - {id: never, when: step < 0, add: {vector: one, strength: 0.5}}\n"


def file(folder: Path, text: str, name: str = "candidate") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def prompts_of(options: dict[str, Any]) -> tuple[list[list[int]], dict[str, Any]]:
    """Return the prompts for a way of decoding, and its options without those of this test."""
    options = dict(options)
    seed = options.pop("seed", 5)
    if options.pop("assistant", False):
        options["assistant_model"] = tiny("llama", seed=seed)
    alone = "prompt_lookup_num_tokens" in options or "assistant_model" in options
    return (PROMPTS[:1] if alone else PROMPTS), options


@pytest.mark.parametrize("way", WAYS)
def test_a_candidate_that_is_the_policy_in_force_tells_just_what_that_does(way: str, tmp_path: Path) -> None:
    made = bench("llama")
    prompts, options = prompts_of(WAYS[way])
    with wrap(made, tmp_path) as guard:
        alone = run(guard, prompts, **options)
    with wrap(made, tmp_path, candidates={"same": file(tmp_path, POLICY)}) as guard:
        assert run(guard, prompts, guard=[{}] * len(prompts), **options) == alone
    without = ("mode", "guard", "settings", "unrecorded")
    active = 0
    for n in range(len(prompts)):
        for sequence in range(options.get("num_return_sequences", 1)):
            live = told(tmp_path, f"r{n}", sequence=sequence, without=without)
            same = told(tmp_path, f"r{n}", track="same", sequence=sequence, without=without)
            assert same == live
            active += kinds(live).count("ActivationEnded")
            modes = told(tmp_path, f"r{n}", track="same", sequence=sequence)
            assert {event["mode"] for event in modes if "mode" in event} == {"shadow"}
    assert active > 2
    assert verify(tmp_path / "log").ok


@pytest.mark.parametrize("way", WAYS)
def test_a_candidate_decides_by_the_tokens_of_the_policy_in_force(way: str, tmp_path: Path) -> None:
    made = bench("llama")
    prompts, options = prompts_of(WAYS[way])
    with wrap(made, tmp_path, OTHER) as guard:
        alone = run(guard, prompts, **options)
    with wrap(made, tmp_path, OTHER, candidates={"new": file(tmp_path, POLICY)}) as guard:
        found = run(guard, prompts, guard=[{}] * len(prompts), **options)
    assert found == alone
    returned = options.get("num_return_sequences", 1)
    for place, written in enumerate(found):
        expected = made.reference.strengths(prompts[place // returned], written[:-1])
        name, sequence = f"r{place // returned}", place % returned
        would = strengths(tmp_path, name, len(expected), track="new", mode="shadow", sequence=sequence)
        assert would == expected
        acted = strengths(tmp_path, name, len(expected), sequence=sequence)
        assert acted == [(one and 0.2, two, three) for one, two, three in expected]


def probe_of(made: Any, block: int) -> Probe:
    generator = torch.Generator().manual_seed(8)
    return Probe(
        name="seen",
        outputs=("score",),
        block=block,
        weight=torch.randn(1, WIDTH, generator=generator) * 0.4,
        bias=torch.zeros(1),
        fingerprint=fingerprint(made.model, made.tokenizer).digest,
        digest="b3:" + "0" * 64,
    )


@pytest.mark.parametrize(
    "live", [PROBED, OTHER, IDLE], ids=["probes in both", "probes in the candidate alone", "nothing else"]
)
@pytest.mark.parametrize("way", WAYS)
def test_a_candidates_probes_read_the_passes_of_the_policy_in_force(
    way: str, live: str, tmp_path: Path
) -> None:
    """Where the same policy is in force too, both tell the same; else it is hooked for the candidate."""
    made = bench("llama")
    prompts, options = prompts_of(WAYS[way])
    readers = {**made.classifiers, "seen": probe_of(made, 0 if live is IDLE else 1)}
    with wrap(made, tmp_path, live, classifiers=readers) as guard:
        alone = run(guard, prompts, **options)
    candidates = {"probed": file(tmp_path, PROBED)}
    with wrap(made, tmp_path, live, classifiers=readers, candidates=candidates) as guard:
        found = run(guard, prompts, guard=[{}] * len(prompts), **options)
    assert found == alone
    without = ("mode", "guard", "settings", "unrecorded")
    fired = []
    for n in range(len(prompts)):
        probed = told(tmp_path, f"r{n}", track="probed", without=without)
        fired += [event["rule"] for event in probed if event["kind"] == "RuleFired"]
        assert kinds(probed)[-1] == "RequestEnded"
        if live is PROBED:
            mine = told(tmp_path, f"r{n}", without=without)
            assert probed == mine
    assert set(fired) == {"text", "gate"}
    assert fired.count("gate") > len(prompts), "the probe must change its mind for this to mean anything"


class Broken(LastCharacters):
    """Raises once the text has three characters."""

    def start(self) -> LastState:
        return BrokenState(self.seed)


class BrokenState(LastState):
    def push(self, text: str) -> None:
        super().push(text)
        if len(self.text) >= 3:
            raise ValueError("broken classifier")

    def fork(self) -> LastState:
        return BrokenState(self.seed, self.text)


class Unforkable(LastState):
    def fork(self) -> LastState:
        raise RuntimeError("no copy")


class Stubborn(LastCharacters):
    def start(self) -> LastState:
        return Unforkable(self.seed)


def test_a_classifier_that_raises_in_a_candidate_is_told_on_its_track_alone(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("said", "spoken")
    readers = {**made.classifiers, "spoken": Broken(1)}
    with wrap(made, tmp_path, classifiers=readers, candidates={"new": file(tmp_path, text)}) as guard:
        found = run(guard, guard=[{}] * 3)
    assert found == [made.reference.generate(prompt, TOKENS) for prompt in PROMPTS]
    assert "ClassifierFailed" not in kinds(told(tmp_path, "r0"))
    failed = [e for e in told(tmp_path, "r0", track="new") if e["kind"] == "ClassifierFailed"]
    assert [(event["step"], event["classifier"]) for event in failed] == [(3, "spoken")]
    assert kinds(told(tmp_path, "r0", track="new"))[-1] == "RequestEnded"


def test_a_candidate_that_breaks_ends_on_its_track_and_hurts_no_row(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("said", "spoken")
    readers = {**made.classifiers, "spoken": Stubborn(1)}
    options: dict[str, Any] = {"num_return_sequences": 2, "num_beams": 2}
    with wrap(made, tmp_path) as guard:
        alone = run(guard, **options)
    candidates = {"bad": file(tmp_path, text, "bad"), "good": file(tmp_path, POLICY, "good")}
    with wrap(made, tmp_path, classifiers=readers, candidates=candidates) as guard:
        assert run(guard, guard=[{}] * 3, **options) == alone
    for n in range(3):
        bad = told(tmp_path, f"r{n}", track="bad")
        assert kinds(bad) == ["RequestStarted", "RequestFailed"]
        assert bad[1]["error"] == "RuntimeError"
        assert kinds(told(tmp_path, f"r{n}", track="good"))[-1] == "RequestEnded"
        assert kinds(told(tmp_path, f"r{n}"))[-1] == "RequestEnded"


class Torn(Probe):
    """A probe that raises in its fourth pass, or (``odd``) gives something of another shape there."""

    passes = 0
    odd = False

    def reader(self, like: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        self.whole = super().reader(like)
        return self.read

    def read(self, hidden: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        if self.passes != 4:
            return self.whole(hidden)
        if self.odd:
            return hidden.new_zeros(7)
        raise ValueError("torn")


@pytest.mark.parametrize("odd", [False, True], ids=["raises", "other shape"])
def test_a_candidates_probe_that_fails_is_told_on_its_track_and_hurts_no_row(
    odd: bool, tmp_path: Path
) -> None:
    made = bench("llama")
    whole = probe_of(made, 2)
    torn = Torn(
        name=whole.name,
        outputs=whole.outputs,
        block=whole.block,
        weight=whole.weight,
        bias=whole.bias,
        fingerprint=whole.fingerprint,
        digest=whole.digest,
    )
    torn.odd = odd
    readers = {**made.classifiers, "seen": torn}
    with wrap(made, tmp_path, classifiers=readers, candidates={"new": file(tmp_path, PROBED)}) as guard:
        found = run(guard, guard=[{}] * 3)
    assert found == [made.reference.generate(prompt, TOKENS) for prompt in PROMPTS]
    for n in range(3):
        events = told(tmp_path, f"r{n}", track="new")
        assert kinds(events).count("ActivationBegan") == kinds(events).count("ActivationEnded")
        assert kinds(events)[-1] == "RequestEnded"
        assert "ClassifierFailed" in kinds(events)
        assert "ClassifierFailed" not in kinds(told(tmp_path, f"r{n}"))


def test_a_candidate_stops_where_the_policy_in_force_ends_the_row(tmp_path: Path) -> None:
    """The fallback is not what the model wrote; a candidate has nothing to say about it."""
    made = bench("llama")
    live = IDLE.replace("rules:", "fallback: 'No, and once more no.'\nrules:")
    live += "  - {id: stop, when: step >= 4, halt: true}\n"
    with wrap(made, tmp_path, live, candidates={"new": file(tmp_path, POLICY)}) as guard:
        found = run(guard, PROMPTS[:1], guard=[{}])
    prompt, written = PROMPTS[0], found[0]
    expected = made.reference.strengths(prompt, written[:4])
    assert strengths(tmp_path, "r0", len(expected), track="new", mode="shadow") == expected
    steps = [event["step"] for event in told(tmp_path, "r0", track="new") if "step" in event]
    assert max(steps) <= 4
    assert told(tmp_path, "r0", track="new")[-1]["reason"] == "halted"


def test_a_candidate_that_would_halt_ends_no_row(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY + '  - {id: stop, when: step >= 4, halt: true}\nfallback: "No."\n'
    with wrap(made, tmp_path, candidates={"new": file(tmp_path, text)}) as guard:
        found = run(guard, guard=[{}] * 3)
    assert found == [made.reference.generate(prompt, TOKENS) for prompt in PROMPTS]
    halts = [s.event for s in read(tmp_path / "log") if isinstance(s.event, RowHalted)]
    assert [(h.track, h.mode, h.step, h.rule) for h in halts] == [("new", "shadow", 4, "stop")] * 3


def test_what_a_candidate_would_do_is_told_while_the_answer_is_written(tmp_path: Path) -> None:
    """Though the policy in force has nothing to tell."""
    made = bench("llama")
    text = IDLE.replace("step < 0", "step >= 2").replace("id: never", "id: early")
    journal = open_journal(tmp_path / "log", key=b"k" * 32)
    seen: list[bool] = []

    class Watcher:
        def put(self, _: torch.Tensor) -> None:
            journal.flush()
            seen.append(any(isinstance(s.event, RuleFired) for s in read(tmp_path / "log")))

        def end(self) -> None:
            pass

    new = {"new": file(tmp_path, text)}
    with wrap(made, tmp_path, IDLE, audit=journal, classifiers={}, candidates=new) as guard:
        run(guard, PROMPTS[:1], streamer=Watcher())
    journal.close()
    assert not any(seen[:4])
    assert all(seen[7:])


def test_a_candidate_takes_the_requests_that_its_own_binding_gives_it(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY + "binding: {rollout: {percent: 50, by: request.tenant}, arms: [in, out]}\n"
    tenants = [f"t{n}" for n in range(12)]
    with wrap(made, tmp_path, IDLE, candidates={"new": file(tmp_path, text)}) as guard:
        run(guard, PROMPTS[:1] * 12, guard=[{"tenant": tenant} for tenant in tenants], max_new_tokens=4)
    started = [told(tmp_path, f"r{n}", track="new")[0] for n in range(12)]
    assert {(event["mode"], event["arm"]) for event in started} == {("shadow", "in"), ("off", "out")}
    for n, event in enumerate(started):
        alone = kinds(told(tmp_path, f"r{n}", track="new")) == ["RequestStarted"]
        assert alone is (event["mode"] == "off")


def test_a_candidate_may_declare_context_that_the_policy_in_force_does_not(tmp_path: Path) -> None:
    made = bench("llama")
    text = IDLE.replace("vectors:", "context: {tier: int}\nvectors:").replace("step < 0", "request.tier > 2")
    with wrap(made, tmp_path, candidates={"new": file(tmp_path, text)}) as guard:
        run(guard, guard=[{"tier": 1}, {"tier": 3}, {}])
    fired = ["RuleFired" in kinds(told(tmp_path, f"r{n}", track="new")) for n in range(3)]
    assert fired == [False, True, False]
    assert told(tmp_path, "r1")[0]["context"] == {"tier": 3}


def test_a_candidate_that_would_have_refused_the_request_says_so_on_its_track(tmp_path: Path) -> None:
    made = bench("llama")
    strict = IDLE.replace("vectors:", "context: {tier: string}\nvectors:").replace(
        "step < 0", "request.tier == 'a'"
    )
    turns = POLICY.replace("on: prompt", "on: user")
    live = POLICY.replace("flags:", "context: {tier: int}\nflags:")
    candidates = {"strict": file(tmp_path, strict, "strict"), "turns": file(tmp_path, turns, "turns")}
    with wrap(made, tmp_path, live, candidates=candidates) as guard:
        run(guard, PROMPTS[:1], guard=[{"tier": 1}])
    for track in candidates:
        events = told(tmp_path, "r0", track=track)
        assert kinds(events) == ["RequestStarted", "RequestFailed"]
        assert events[1]["error"] == "RequestError"


def test_a_call_that_raises_is_on_record_on_every_track(tmp_path: Path) -> None:
    made = bench("llama")

    class Streamer:
        left = 6

        def put(self, _: torch.Tensor) -> None:
            self.left -= 1
            if not self.left:
                raise KeyError("streamer")

        def end(self) -> None:
            pass

    with (
        wrap(made, tmp_path, candidates={"same": file(tmp_path, POLICY)}) as guard,
        pytest.raises(KeyError),
    ):
        run(guard, PROMPTS[:1], guard=[{}], streamer=Streamer())
    without = ("mode", "guard", "settings", "unrecorded")
    assert told(tmp_path, "r0", track="same", without=without) == told(tmp_path, "r0", without=without)
    assert told(tmp_path, "r0", track="same")[-1]["error"] == "KeyError"


def test_what_is_adopted_is_on_record_for_each_track(tmp_path: Path) -> None:
    made = bench("llama")
    path = file(tmp_path, OTHER)
    with wrap(made, tmp_path, binding=Binding(mode="shadow"), candidates={"new": path}) as guard:
        pass
    adopted = [s.event for s in read(tmp_path / "log") if isinstance(s.event, PolicyAdopted)]
    assert [(event.track, event.policy, event.source) for event in adopted] == [
        ("", "scripted", "wrap"),
        ("new", "other", "wrap"),
    ]
    assert [event.binding["mode"] for event in adopted] == ["shadow", "shadow"]
    assert adopted[0].policy_digest == guard.policy.digest
    assert adopted[1].text == OTHER
    assert set(adopted[1].vectors) == {"one", "two", "three"}
    assert set(adopted[1].classifiers) == {"asked", "said"}


def test_the_log_of_a_candidate_is_what_policy_compare_reads(tmp_path: Path) -> None:
    made = bench("llama")
    candidates = {"same": file(tmp_path, POLICY, "same"), "other": file(tmp_path, OTHER, "other")}
    with wrap(made, tmp_path, candidates=candidates) as guard:
        run(guard, guard=[{}] * 3)
    stored = list(read(tmp_path / "log"))
    assert not any(row.disagrees for row in compare(stored, "same").rows)
    assert any(row.disagrees for row in compare(stored, "other").rows)


def test_a_candidate_ends_where_its_row_does_though_others_go_on(tmp_path: Path) -> None:
    made = bench("llama")
    # What the first row says at its fourth token ends the rows that say it.
    end = run(made.model)[0][3]
    settings: dict[str, Any] = {"eos_token_id": end, "suppress_tokens": [0, 1]}
    with wrap(made, tmp_path, candidates={"same": file(tmp_path, POLICY)}) as guard:
        rows = run(guard, guard=[{}] * 3, **settings)
    lengths = {row.index(end) if end in row else TOKENS for row in rows}
    assert len(lengths) > 1
    without = ("mode", "guard", "settings", "unrecorded")
    for n in range(3):
        live = told(tmp_path, f"r{n}", without=without)
        assert told(tmp_path, f"r{n}", track="same", without=without) == live


def test_candidates_without_a_log_are_not_run(tmp_path: Path) -> None:
    """Nobody could learn anything from them."""
    made = bench("llama")
    Counted.begun = 0
    text = POLICY.replace("said", "spoken")
    readers = {**made.classifiers, "spoken": Counted(1)}
    candidates = {"new": file(tmp_path, text)}
    with wrap(made, tmp_path, classifiers=readers, candidates=candidates, audit=None) as guard:
        run(guard)
    assert Counted.begun == 0


class Counted(LastCharacters):
    """Counts how often it was begun, over all rows."""

    begun = 0

    def start(self) -> LastState:
        type(self).begun += 1
        return super().start()


@pytest.mark.parametrize(
    ("candidates", "said"),
    [({"": POLICY}, "needs a name"), ({"new": "no-such-policy"}, "no-such-policy")],
)
def test_a_candidate_that_cannot_be_had_keeps_the_guard_from_going_on(
    candidates: dict[str, str], said: str, tmp_path: Path
) -> None:
    made = bench("llama")
    with pytest.raises((PolicyError, AssetError), match=said):
        wrap(made, tmp_path, candidates=candidates)
    assert "generate" not in vars(made.model)


def test_a_loaded_policy_may_be_a_candidate(tmp_path: Path) -> None:
    made = bench("llama")
    path = file(tmp_path, POLICY)
    policy = load_policy(path, outputs=lambda _: ("score",))
    assert replace(policy, name="x") != policy
    with wrap(made, tmp_path, IDLE, candidates={"new": policy}) as guard:
        run(guard, guard=[{}] * 3)
    fired: Sequence[str] = kinds(told(tmp_path, "r0", track="new"))
    assert "ActivationBegan" in fired


def test_no_failure_is_on_record_where_nothing_failed(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, candidates={"same": file(tmp_path, POLICY)}) as guard:
        run(guard, guard=[{}] * 3, num_beams=2)
        run(guard, prompt_lookup_num_tokens=4, prompts=PROMPTS[:1])
    assert not [s for s in read(tmp_path / "log") if isinstance(s.event, RequestFailed)]
