"""Where the policy in force takes text back, candidates go back with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import read, verify
from guardsteer.evaluate.explain import explain
from tests.runtime.harness import POLICY as PLAIN
from tests.runtime.harness import SPECIAL, batch
from tests.runtime.telling import PROMPTS, kinds, strengths, told, wrap
from tests.runtime.test_candidates import PROBED, probe_of
from tests.runtime.test_revise import POLICY as REVISING
from tests.runtime.test_revise import TOKENS, with_four

LATE = "  - {id: late, when: step >= 10, add: {vector: one, strength: 0.1}, priority: -1}\n"
WAYS: dict[str, dict[str, Any]] = {"cache": {}, "static cache": {"cache_implementation": "static"}}
WAYS["no cache"] = {"use_cache": False}


def run(guard: Any, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    inputs = batch(prompts)
    ids = guard.generate(
        **inputs,
        guard=[{"request": f"r{n}"} for n in range(len(prompts))],
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=None,
        suppress_tokens=list(SPECIAL),
        pad_token_id=0,
        **options,
    )
    width = inputs["input_ids"].shape[1]
    return [row[width:] for row in ids.tolist()]


@pytest.mark.parametrize("way", WAYS)
def test_a_candidate_decides_by_the_text_that_stays(way: str, tmp_path: Path) -> None:
    made = with_four("llama")
    path = tmp_path / "candidate.yaml"
    path.write_text(PLAIN)
    with wrap(made, tmp_path, REVISING, audit=None) as guard:
        alone = run(guard, PROMPTS, **WAYS[way])
    with wrap(made, tmp_path, REVISING, candidates={"new": path}) as guard:
        found = run(guard, PROMPTS, **WAYS[way])
    assert found == alone
    revised = [kinds(told(tmp_path, f"r{n}")).count("RowRevised") for n in range(len(PROMPTS))]
    assert sum(map(bool, revised)) >= 2, "rows must go back for this to mean anything"
    for n, (prompt, written) in enumerate(zip(PROMPTS, found, strict=True)):
        expected = made.reference.strengths(prompt, written[:-1])
        would = strengths(tmp_path, f"r{n}", len(expected), track="new", mode="shadow")
        assert would == expected
        assert kinds(told(tmp_path, f"r{n}", track="new"))[-1] == "RequestEnded"
    assert verify(tmp_path / "log").ok


def test_a_candidates_steps_go_on_counting_as_those_of_the_policy_in_force_do(tmp_path: Path) -> None:
    made = with_four("llama")
    path = tmp_path / "candidate.yaml"
    path.write_text(PLAIN + LATE)
    with wrap(made, tmp_path, REVISING + LATE, candidates={"new": path}) as guard:
        run(guard, PROMPTS)
    for n in range(len(PROMPTS)):
        events = {track: told(tmp_path, f"r{n}", track=track) for track in ("", "new")}
        fired = {
            track: [e["step"] for e in its if e["kind"] == "RuleFired" and e["rule"] == "late"]
            for track, its in events.items()
        }
        assert fired[""] == fired["new"]
        assert fired["new"][0] == 10
        flags = {
            track: [(e["step"], e["up"], e["score"]) for e in its if e["kind"] == "FlagChanged"]
            for track, its in events.items()
        }
        assert flags[""] == flags["new"]


def test_a_candidates_probes_follow_the_text_that_stays(tmp_path: Path) -> None:
    """The same probe policy on both tracks, with revisions by a rule of the policy in force alone."""
    made = with_four("llama")
    revising = REVISING.split("  - id: again")[1]
    live = PROBED.replace("rules:", "  four: {use: ./none, positions: [generated]}\nrules:")
    live += "  - id: again" + revising
    path = tmp_path / "candidate.yaml"
    path.write_text(PROBED)
    readers = {**made.classifiers, "seen": probe_of(made, 0)}
    vectors = {name: made.vectors[name] for name in ("two", "four")}
    with wrap(made, tmp_path, live, classifiers=readers, vectors=vectors, candidates={"new": path}) as guard:
        run(guard, PROMPTS)
    told_back = 0
    for n in range(len(PROMPTS)):
        mine, its = told(tmp_path, f"r{n}"), told(tmp_path, f"r{n}", track="new")
        told_back += kinds(mine).count("RowRevised")
        assert kinds(its)[-1] == "RequestEnded"
        for kind in ("FlagChanged", "RuleFired", "RuleReleased"):
            live_ones = [(e["step"], e.get("flag"), e.get("rule")) for e in mine if e["kind"] == kind]
            others = [(e["step"], e.get("flag"), e.get("rule")) for e in its if e["kind"] == kind]
            assert others == [entry for entry in live_ones if entry[2] != "again"]
    assert told_back


def test_the_log_explains_itself_on_every_track(tmp_path: Path) -> None:
    """Parts of conditions, told one by one, come to what rules did, before and after text was taken back."""
    made = with_four("llama")
    path = tmp_path / "candidate.yaml"
    path.write_text(PLAIN + LATE)
    with wrap(made, tmp_path, REVISING, candidates={"new": path}) as guard:
        run(guard, PROMPTS)
    stored = list(read(tmp_path / "log"))
    for n in range(len(PROMPTS)):
        explained = explain(stored, f"r{n}")
        assert [each.track for each in explained] == ["", "new"]
        assert [each.disagreements for each in explained] == [(), ()]
        assert not any(each.notes for each in explained)


def test_a_halt_that_would_have_been_is_told_anew_for_what_is_written_again(tmp_path: Path) -> None:
    made = with_four("llama")
    path = tmp_path / "candidate.yaml"
    path.write_text(PLAIN + "  - {id: stop, when: step >= 1, halt: true}\nfallback: 'No.'\n")
    with wrap(made, tmp_path, REVISING, candidates={"new": path}) as guard:
        run(guard, PROMPTS)
    for n in range(len(PROMPTS)):
        back = [e["step"] for e in told(tmp_path, f"r{n}") if e["kind"] == "RowRevised"]
        halts = [e["step"] for e in told(tmp_path, f"r{n}", track="new") if e["kind"] == "RowHalted"]
        assert halts == [1, *(step + 1 for step in back)]
