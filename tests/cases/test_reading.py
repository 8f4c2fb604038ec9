"""A test file is read strictly: every mistake is told at once, with its place and a way out."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from guardsteer.cases import CaseFile, Script, Span, find_cases, load_cases, parse_cases
from guardsteer.errors import PolicyError
from tests.cases.support import OUTPUTS, policy_of, refused

GOOD = """\
guardsteer: 1
residual_norms: {empathy: 11.5}
cases:
  - name: everything
    context: {tenant: acme, tier: 2, labels: [vip, eu]}
    overrides: {empathy: 0.2}
    mode: shadow
    prompt: "The whole prompt."
    user: "The last turn."
    generation: ["a", " b"]
    signals:
      - {mood.sad: 0.5, sentences: 1}
      - {mood.sad: missing, times: 3}
    steps: 9
    expect:
      - at: 3
        flags: {low: up, rude: down}
        rules: {warm: fires, stop: rests}
        strengths: {empathy: -0.5, praise: 1}
        operators: {empathy: clamp}
        tolerance: 0.01
        halt: stop
        revise: true
        hold_back: 8
      - {from: 2, to: 4, hold_back: false, halt: false}
      - {from: 5, flags: {low: down}}
      - {at: end, flags: {low: down}}
"""


def parsed(text: str) -> CaseFile:
    return parse_cases(text, "tests.yaml", policy_of(), OUTPUTS)


def test_every_field_means_what_it_says() -> None:
    file = parsed(GOOD)
    (case,) = file.cases
    assert file.residual_norms == {"empathy": 11.5}
    assert (case.name, case.line, case.shadow, case.steps) == ("everything", 4, True, 9)
    assert case.context == {"tenant": "acme", "tier": 2, "labels": ["vip", "eu"]}
    assert (case.prompt, case.user, case.generation) == ("The whole prompt.", "The last turn.", ("a", " b"))
    assert case.overrides == {"empathy": 0.2}
    assert case.scripts[0] == Script({"mood.sad": 0.5}, 1)
    assert math.isnan(case.scripts[1].signals["mood.sad"])
    assert case.scripts[2:] == (Script(), Script())
    first, second, third, last = case.expect
    assert (first.span, first.line) == (Span(3, 3), 16)
    assert first.flags == {"low": True, "rude": False}
    assert first.rules == {"warm": True, "stop": False}
    assert first.strengths == {"empathy": -0.5, "praise": 1.0}
    assert first.operators == {"empathy": "clamp"}
    assert (first.tolerance, first.halt, first.revise, first.hold_back) == (0.01, "stop", True, 8)
    assert (second.span, second.hold_back, second.halt) == (Span(2, 4), False, False)
    assert (third.span, last.span) == (Span(5, None), Span(None, None))


def test_prompt_and_user_stand_in_for_each_other_and_text_is_cut_into_words() -> None:
    file = parsed("""\
guardsteer: 1
cases:
  - {name: a, user: hi, generation: "one  two\\n three ", expect: [{at: end, halt: false}]}
  - {name: b, prompt: hi, expect: [{at: end, halt: false}]}
""")
    first, second = file.cases
    assert first.prompt == first.user == second.prompt == second.user == "hi"
    assert first.generation == ("one", "  two", "\n three", " ")
    assert "".join(first.generation) == "one  two\n three "
    assert first.steps == 5


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "hint"),
    [
        ("guardsteer: 1", "guardsteer: 2", 1, "'guardsteer' must be 1, got 2", ""),
        ("guardsteer: 1\n", "", 1, "the file has no 'guardsteer'", "add"),
        ("- name:", "- nam:", 4, "a case has no field 'nam'", "did you mean 'name'?"),
        ("name: everything", "nome: x", 4, "the case has no 'name'", "add 'name:'"),
        ("mode: shadow", "mode: shade", 7, "'mode' must be enforce or shadow, got the text 'shade'", ""),
        ("{empathy: 0.2}", "{empathi: 0.2}", 6, "the policy has no vector 'empathi'", "'empathy'"),
        ("{empathy: 0.2}", "{empathy: -1}", 6, "the strength of 'empathy' must be 0 to", ""),
        ("low: up, rude", "lo: up, rude", 17, "the policy has no flag 'lo'", "'low'"),
        ("low: up, rude", "low: high, rude", 17, "the flag 'low' must be up or down", ""),
        ("warm: fires", "warn: fires", 18, "the policy has no rule 'warn'", "'warm'"),
        ("halt: stop", "halt: stopp", 22, "the policy has no rule 'stopp'", "'stop'"),
        ("mood.sad: 0.5", "mood.said: 0.5", 12, "the policy has no signal 'mood.said'", "'mood.sad'"),
        ("mood.sad: 0.5", "mood.sad: 5", 12, "the signal 'mood.sad' must be 0 to 1, got 5", ""),
        ("mood.sad: 0.5", "mood.sad: high", 12, "the signal 'mood.sad' must be a number", ""),
        ("steps: 9", "steps: 0", 14, "'steps' must be 1 to", ""),
        ("steps: 9", "steps: 1.5", 14, "'steps' must be a whole number, got the number 1.5", ""),
        ("- at: 3\n", "- at: 3\n        from: 2\n", 16, "an expectation has either 'at' or 'from'", ""),
        ("{from: 2, to: 4", "{at: 2, to: 4", 25, "'to' goes with 'from'", ""),
        ("{from: 2, to: 4", "{from: 4, to: 2", 25, "'to' must be 4 to", ""),
        ("{from: 5, flags: {low: down}}", "{from: 5}", 26, "this expects nothing", "flags"),
        ("hold_back: 8", "hold_back: -1", 24, "'hold_back' must be 0 to", ""),
        ("tolerance: 0.01", "tolerance: -1", 21, "'tolerance' must be 0 to", ""),
        ("operators: {empathy: clamp}", "operators: {empathy: pull}", 20, "the operator on 'empathy'", ""),
        ("generation: [", "generation: [3, ", 10, "a piece of 'generation' must be a text", ""),
        ("{empathy: 11.5}", "{empathy: 0}", 2, "the residual norm of 'empathy' must be", ""),
        ("labels: [vip, eu]", "labels: {a: b}", 5, "'labels' must be a word, a number or a list", ""),
    ],
)
def test_a_mistake_is_told_with_its_place_and_a_hint(
    old: str, new: str, line: int, message: str, hint: str
) -> None:
    assert GOOD.count(old) >= 1
    problems = refused(GOOD.replace(old, new, 1))
    assert any(p.line == line and message in p.message and hint in p.hint for p in problems), problems


def test_all_mistakes_are_told_at_once_and_in_order() -> None:
    text = (
        GOOD.replace("mode: shadow", "mode: x")
        .replace("halt: stop", "halt: y")
        .replace("steps: 9", "steps: z")
    )
    assert [problem.line for problem in refused(text)] == [7, 14, 22]


def test_cases_need_something_to_read_and_names_of_their_own() -> None:
    (nothing,) = refused("guardsteer: 1\ncases: [{name: a, expect: [{at: 0, halt: false}]}]")
    assert "nothing to read" in nothing.message
    case = "{name: a, user: x, expect: [{at: 0, halt: false}]}"
    (twice,) = refused(f"guardsteer: 1\ncases:\n  - {case}\n  - {case}\n")
    assert (twice.line, twice.hint) == (4, "first on line 3")


@pytest.mark.parametrize(
    "text", ["", "[]", "x", "guardsteer: 1", "guardsteer: 1\ncases: {}", "a: &b 1", "\tx"]
)
def test_what_is_no_test_file_is_refused(text: str) -> None:
    assert refused(text)


def test_an_empty_list_of_cases_can_be_read_and_fails_when_it_is_run() -> None:
    assert parsed("guardsteer: 1\ncases: []\n").cases == ()


def test_the_room_loads_no_torch() -> None:
    program = "import sys, guardsteer.cases, guardsteer.cases.running; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_cases_lie_beside_their_policy(tmp_path: Path) -> None:
    folder = tmp_path / "support"
    folder.mkdir()
    for policy in (folder, folder / "policy.yaml", folder / "other.yaml"):
        assert find_cases(policy) is None
    (folder / "tests.yaml").write_text(GOOD)
    (folder / "other.tests.yaml").write_text(GOOD)
    assert find_cases(folder) == find_cases(folder / "policy.yaml") == folder / "tests.yaml"
    assert find_cases(folder / "other.yaml") == folder / "other.tests.yaml"
    assert load_cases(folder / "tests.yaml", policy_of(), OUTPUTS).cases == parsed(GOOD).cases


def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    for path, content in ((tmp_path / "absent", None), (tmp_path / "latin", b"\xff"), (tmp_path, None)):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PolicyError, match=r"cannot be read|not UTF-8"):
            load_cases(path, policy_of(), OUTPUTS)
