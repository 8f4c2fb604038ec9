"""Cases pass where the policy does what they expect, fail where it does not, and say why."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.cases import CaseFile, run_cases
from tests.cases.support import POLICY, cases_of, classifiers_of, policy_of, report_of


def only(cases: str, text: str = POLICY) -> list[tuple[int, int, str, str, str]]:
    """Return the mismatches of one case."""
    (result,) = report_of(cases, text).results
    assert not result.error, result.error
    return [(m.first, m.last, m.what, m.expected, m.got) for m in result.mismatches]


def test_text_is_read_as_at_run_time_and_a_case_that_fits_passes() -> None:
    report = report_of("""
  - name: a customer asks about a refund and the answer turns rude
    context: {tier: 2}
    user: "Where is my refund?"
    generation: ["Well", ", da", "mn", " it", " all"]
    expect:
      - {from: 0, to: 2, flags: {billing: up, rude: down}, rules: {warm: fires, stop: rests}}
      - {from: 0, to: 2, strengths: {empathy: 0.3, praise: 0}, operators: {empathy: add, praise: none}}
      - {at: 2, halt: false, revise: false, hold_back: false}
      - {at: 3, halt: stop, flags: {rude: up}, strengths: {empathy: 0}}
      - {at: end, halt: true}
""")
    assert report.ok, str(report)
    assert report.results[0].steps == 4


def test_a_text_is_read_word_by_word_and_a_list_piece_by_piece() -> None:
    assert not only("""
  - name: words
    generation: "one two damn four"
    expect: [{at: 2, halt: false}, {at: 3, halt: stop}]
""")
    assert not only("""
  - name: pieces
    generation: ["one two ", "damn"]
    expect: [{at: 1, halt: false}, {at: 2, halt: stop}]
""")


def test_scripted_signals_go_step_by_step_and_keep_what_they_do_not_name() -> None:
    assert not only("""
  - name: after two steps, held for three
    signals: [{}, {mood.sad: 0.7, times: 2}, {mood.sad: 0.1, mood.happy: 0.9}]
    steps: 8
    expect:
      - {from: 0, to: 1, flags: {low: down}}
      - {from: 2, to: 4, flags: {low: up}, strengths: {empathy: 0.2}}
      - {at: 2, strengths: {praise: -0.1}, operators: {praise: subtract}}
      - {from: 3, rules: {hush: fires}, strengths: {praise: 0}}
      - {from: 5, flags: {low: down}, strengths: {empathy: 0}}
""")


def test_what_went_wrong_is_told_once_for_steps_in_a_row_with_what_explains_it() -> None:
    report = report_of("""
  - name: wrong in many ways
    context: {tier: 0}
    user: an invoice
    signals: [{mood.sad: 0.55}, {mood.sad: 0.7, times: 2}, {}]
    expect:
      - {from: 0, flags: {low: up}, rules: {warm: fires}}
      - {at: 3, strengths: {empathy: 0.25}, operators: {praise: ablate}, halt: stop, hold_back: 4}
""")
    (result,) = report.failed
    assert [(m.line, m.first, m.last, m.what, m.expected, m.got) for m in result.mismatches] == [
        (9, 0, 1, "flag low", "up", "down"),
        (9, 0, 3, "rule warm", "fires", "rests"),
        (10, 3, 3, "strength of empathy", "0.25", "0.2"),
        (10, 3, 3, "operator on praise", "ablate", "subtract"),
        (10, 3, 3, "halt", "by stop", "none"),
        (10, 3, 3, "hold_back", "4 tokens", "none"),
    ]
    low, warm, empathy, _, stop, _ = (mismatch.because for mismatch in result.mismatches)
    assert low == ("mood.sad is 0.55; low enters at 0.6 and leaves below 0.4",)
    assert warm == (
        "warm rests, when: billing && request.tier >= 1",
        "billing is up (asking.match 1)",
        "request.tier >= 1 is false",
    )
    assert empathy[:2] == (
        "warm, which steers it, rests, when: billing && request.tier >= 1",
        "cheer, which steers it, fires, when: low",
    )
    assert stop == ("stop rests, when: rude", "rude is down (swearing.match 0)")


def test_the_text_of_a_report_shows_place_difference_and_reason() -> None:
    report = report_of("""
  - name: too hopeful
    user: hello
    expect: [{at: 0, flags: {billing: up}}]
""")
    assert str(report).splitlines() == [
        "tests.yaml:4: FAILED too hopeful",
        "  step 0, flag billing (line 6)",
        "    - expected up",
        "    + got      down",
        "      asking.match is 0; billing enters at 0.5 and leaves below 0.5",
        "tests.yaml: 0 of 1 cases of policy calm passed",
    ]
    answer = json.loads(json.dumps(report.as_json()))
    assert (answer["ok"], answer["passed"], answer["failed"]) == (False, 0, 1)
    assert answer["cases"][0]["mismatches"][0]["got"] == "down"


def test_no_cases_are_a_failure() -> None:
    policy = policy_of()
    report = run_cases(policy, CaseFile("tests.yaml", ()), classifiers_of(policy))
    assert not report.ok
    assert "no cases" in str(report)


def test_a_step_that_is_not_reached_is_a_failure() -> None:
    assert only("""
  - name: short
    user: hello
    expect: [{at: 3, flags: {rude: down}}, {from: 0, to: 2, flags: {rude: down}}]
""") == [
        (3, 3, "the row", "to reach step 3", "its end at step 0"),
        (1, 2, "the row", "to reach step 2", "its end at step 0"),
    ]
    assert only("""
  - name: halted
    generation: [damn, a, b]
    expect: [{from: 2, flags: {rude: up}}]
""") == [(2, 2, "the row", "to reach step 2", "its end at step 1")]


@pytest.mark.parametrize(
    ("on_error", "expected"), [("closed", "rests"), ("open", "rests"), ("last_state", "fires")]
)
def test_a_missing_score_is_what_the_classifiers_on_error_says(on_error: str, expected: str) -> None:
    text = POLICY.replace("{use: ./mood, on", f"{{on_error: {on_error}, use: ./mood, on")
    assert not only(
        f"""
  - name: missing
    signals: [{{mood.sad: 0.9}}, {{}}, {{mood.sad: missing}}, {{}}]
    expect:
      - {{at: 1, rules: {{cheer: fires}}}}
      - {{at: 2, rules: {{cheer: {"fires" if on_error == "open" else expected}}}}}
      - {{at: 3, rules: {{cheer: {"fires" if on_error == "open" else expected}}}}}
""",
        text,
    )


def test_an_undecided_rule_that_protects_acts_and_the_case_says_what_is_missing() -> None:
    report = report_of("""
  - name: missing
    signals: [{mood.happy: missing}]
    expect: [{at: 0, rules: {hush: rests}}]
""")
    (mismatch,) = report.results[0].mismatches
    assert mismatch.got == "fires"
    assert "mood.happy > 0.8 is undecided (mood.happy missing)" in mismatch.because


def test_the_binding_does_not_matter_and_shadow_is_tried_where_it_is_asked_for() -> None:
    bound = POLICY + "binding: {mode: shadow, rules: {warm: 'off', cheer: shadow}}\n"
    case = """
  - name: {name}
    context: {{tier: 1}}
    user: refund
    mode: {mode}
    expect: [{{at: 0, rules: {{warm: fires}}, strengths: {{empathy: {strength}}}}}]
"""
    assert not only(case.format(name="as written", mode="enforce", strength=0.3), bound)
    assert not only(case.format(name="shadow", mode="shadow", strength=0), bound)


def test_a_request_may_override_a_strength() -> None:
    assert not only("""
  - name: override
    context: {tier: 1}
    user: refund
    overrides: {empathy: 0.15}
    expect: [{at: 0, strengths: {empathy: 0.15}}]
""")


def test_a_request_that_does_not_fit_the_policy_fails_its_case_alone() -> None:
    report = report_of("""
  - name: bad
    context: {tier: many}
    user: refund
    expect: [{at: 0, flags: {rude: down}}]
  - name: good
    user: refund
    expect: [{at: 0, flags: {rude: down}}]
""")
    assert [result.ok for result in report.results] == [False, True]
    assert "'tier' must be of type int" in report.results[0].error


def test_a_classifier_that_raises_fails_the_case() -> None:
    class Broken:
        outputs = ("match",)
        digest = "b3:0"

        def start(self) -> None:
            raise ValueError("broken")

    policy = policy_of()
    cases = cases_of("  - {name: a, user: x, expect: [{at: 0, flags: {rude: down}}]}", policy)
    report = run_cases(policy, cases, {**classifiers_of(policy), "asking": Broken()})  # type: ignore[dict-item]  # broken on purpose
    assert report.results[0].error == "ValueError: broken"


REVISING = POLICY.replace(
    "  - {id: stop, when: rude, halt: true}",
    """\
  - id: mend
    when: rude
    add: {vector: praise, strength: 0.5}
    revise: {tokens: 2, most: 1, steps: 2, then: halt}
""",
)


def test_text_that_is_taken_back_is_gone_and_what_follows_is_written_in_its_place() -> None:
    assert not only(
        """
  - name: mended
    generation: [Well, " da", mn, " sorry", " now", " good"]
    expect:
      - {at: 2, revise: false, flags: {rude: down}}
      - {at: 3, revise: mend, flags: {rude: up}}
      - {from: 4, to: 5, revise: false, flags: {rude: down}, rules: {mend: rests}, strengths: {praise: 0.5}}
      - {from: 6, to: 7, strengths: {praise: 0}, halt: false}
""",
        REVISING,
    )


def test_a_rule_without_revisions_left_does_what_comes_then() -> None:
    assert not only(
        """
  - name: twice
    generation: [Well, " damn", " damn"]
    expect: [{at: 2, revise: mend}, {at: 4, revise: false, halt: mend}]
""",
        REVISING,
    )


def test_a_revision_to_the_sentence_drops_what_came_after_its_end() -> None:
    text = REVISING.replace("tokens: 2", "back_to: sentence")
    assert not only(
        """
  - name: sentence
    generation: ["One. ", two, " damn", " three", "."]
    expect: [{at: 3, revise: mend}, {from: 4, flags: {rude: down}, halt: false}]
""",
        text,
    )


@pytest.mark.parametrize(
    ("pieces", "rude_at", "written_anew"),
    [
        # The newest token goes, though it ended a sentence itself.
        ('["One. ", "damn. ", two]', 2, 4),
        # A token that ends a sentence and begins another goes with the other.
        ('[One, ". Two", " damn", three]', 3, 5),
        ("[damn, two]", 1, 3),
    ],
)
def test_what_a_revision_to_the_sentence_leaves(pieces: str, rude_at: int, written_anew: int) -> None:
    text = REVISING.replace("tokens: 2", "back_to: sentence")
    (result,) = report_of(
        f"""
  - name: sentence
    generation: {pieces}
    expect:
      - {{at: {rude_at}, revise: mend}}
      - {{from: {rude_at + 1}, to: {written_anew}, flags: {{rude: down}}}}
""",
        text,
    ).results
    assert not result.mismatches
    assert result.steps == written_anew + 1


def test_the_token_that_is_decided_anew_counts_once() -> None:
    text = REVISING.replace(
        "asking: {literals: [refund, invoice], on: user}", "asking: {literals: [um], on: generation}"
    ).replace("enter: 0.5}\n  low", "enter: 0.5, after: 3}\n  low")
    assert not only(
        """
  - name: three in a row, of which two were taken back
    generation: [um, " a", " damn", " b", " c"]
    expect:
      - {at: 3, revise: mend, flags: {billing: up}}
      - {from: 4, to: 5, flags: {billing: down}}
      - {at: 6, flags: {billing: up}}
""",
        text,
    )


def test_sentences_are_counted_in_text_and_may_be_scripted() -> None:
    text = POLICY.replace("strength: 0.3}", "strength: 0.3, until: sentence_end}")
    case = """
  - name: {name}
    context: {{tier: 1}}
    user: refund
    {what}
    expect: [{{from: 0, to: 1, strengths: {{empathy: 0.3}}}}, {{at: 2, strengths: {{empathy: 0}}}}]
"""
    assert not only(case.format(name="text", what='generation: [Hello, ". "]'), text)
    assert not only(case.format(name="script", what="signals: [{}, {}, {sentences: 1}]"), text)


@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=12))
def test_a_case_that_expects_what_happened_passes_and_its_contrary_fails(scores: list[float]) -> None:
    up: list[bool] = []
    count = hold = 0
    for score in scores:
        if up and up[-1]:
            hold -= 1
            up.append(hold > 0 or score >= 0.4)
            count = 0
        else:
            count = count + 1 if score >= 0.6 else 0
            up.append(count >= 2)
            hold = 3
    signals = ", ".join(f"{{mood.sad: {score!r}}}" for score in scores)
    for contrary in (False, True):
        expect = ", ".join(
            f"{{at: {step}, flags: {{low: {'up' if state != contrary else 'down'}}}}}"
            for step, state in enumerate(up)
        )
        found = only(f"  - {{name: a, signals: [{signals}], expect: [{expect}]}}")
        assert len(found) == (len(scores) if contrary else 0)
