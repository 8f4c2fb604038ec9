"""Metrics give one number a reply, say what they cannot judge, and mean what they say."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guardsteer.classify import PatternClassifier
from guardsteer.errors import AssetError
from guardsteer.lab.measure.metrics import KINDS, classifier_score, metric_named
from guardsteer.lab.metrics.model import bound, nats_a_token
from guardsteer.lab.metrics.register import Kind, check_scores, scored
from guardsteer.lab.metrics.text import distinct, judged, pattern, repetition, words
from guardsteer.lab.pairs.prompts import Prompt, few, load_prompts, split_prompts, user_prompt
from guardsteer.lab.recipes.measure import MeasureRow
from guardsteer.lab.recipes.recipe import load_recipe
from tests.lab.chats import chat_model, chat_tokenizer
from tests.lab.recipes.test_shipped_recipes import AUTHORED

ASKED = [user_prompt("Where is it?", expected="the  Shed")]


@given(st.text(alphabet="ab ", max_size=40), st.integers(1, 4))
def test_what_repeats_and_what_is_distinct_add_up_to_one(reply: str, n: int) -> None:
    first, second = distinct(n)(ASKED, [reply])[0], repetition(n)(ASKED, [reply])[0]
    assert first + second == pytest.approx(1.0)
    assert 0.0 <= second < 1.0


def test_a_loop_repeats_and_an_ordinary_reply_does_not() -> None:
    loop, plain = repetition(2)([], ["go home go home go home", "it is in the old shed"])
    assert loop == pytest.approx(3 / 5)
    assert plain == 0.0


def test_expected_ignores_case_and_white_space_alone() -> None:
    expected = metric_named("expected")
    assert expected(ASKED * 2, ["In THE shed, I think.", "In the barn."]) == [1.0, 0.0]
    with pytest.raises(AssetError, match="expect nothing"):
        expected([user_prompt("Hello")], ["Hi"])


def test_patterns_are_found_anywhere_and_mistakes_in_them_are_told() -> None:
    assert pattern("colou?r")(ASKED * 2, ["my color", "my dog"]) == [1.0, 0.0]
    with pytest.raises(AssetError, match="regex:"):
        pattern("(")


def test_a_classifier_scores_each_reply_by_itself() -> None:
    metric = classifier_score(PatternClassifier(literals=("sorry",)))
    assert list(metric(ASKED * 3, ["I am sorry", "No.", "so"])) == [1.0, 0.0, 0.0]
    with pytest.raises(AssetError, match="no output 'nope'"):
        classifier_score(PatternClassifier(literals=("sorry",)), "nope")


def test_a_judge_is_asked_about_prompt_and_reply_and_must_answer_with_a_number() -> None:
    asked: list[str] = []

    def judge(question: str) -> str:
        asked.append(question)
        return "It is kind. Score: 4"

    assert judged(judge, "P={prompt} R={reply}")([user_prompt("{reply}?")], ["here"]) == [4.0]
    assert asked == ["P={reply}? R=here"]
    with pytest.raises(AssetError, match="expected a number from 1 to 5"):
        judged(lambda _: "no idea", "{prompt}{reply}")(ASKED, ["x"])
    with pytest.raises(AssetError, match="expected a number from 1 to 5"):
        judged(lambda _: "9", "{prompt}{reply}")(ASKED, ["x"])


@pytest.mark.parametrize("name", ["", "vadr", "regex:", "distinct:0", "python:os", "python:os:nope"])
def test_a_metric_that_is_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(AssetError, match="metric"):
        metric_named(name)


def test_a_function_of_the_users_is_found_by_its_module() -> None:
    assert metric_named("python:guardsteer.lab.metrics.text:words") is words


def test_numbers_that_are_missing_or_not_finite_are_refused() -> None:
    assert check_scores("m", (1, 0), 2) == [1.0, 0.0]
    for wrong in ((1.0,), (1.0, float("nan"))):
        with pytest.raises(AssetError, match="'m'"):
            check_scores("m", wrong, 2)


def test_the_models_own_likelihood_is_that_of_the_tokens_one_by_one() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    found = nats_a_token(model, tokenizer)([user_prompt("Hi")], ["ab"])[0]
    ids = tokenizer("<bos><user>Hi<assistant>ab", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    assert found == pytest.approx(-float(logits[-3, ids[-2]] + logits[-2, ids[-1]]) / 2, abs=1e-5)


def test_prompts_come_from_lines_or_json_and_each_counts_once(tmp_path: Path) -> None:
    plain, rows = tmp_path / "a.txt", tmp_path / "a.jsonl"
    plain.write_text("Hello\n\nhello\nBye\n")
    rows.write_text('{"text": "Hello", "expected": "Hi"}\n')
    assert [prompt.text for prompt in load_prompts(plain)] == ["Hello", "Bye"]
    assert load_prompts(rows)[0].expected == "Hi"
    rows.write_text('{"text": 3}\nnot json\n{"text": "a", "colour": "b"}\n')
    with pytest.raises(AssetError) as caught:
        load_prompts(rows)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3]


@given(
    st.lists(st.text(alphabet="abcdef", min_size=1, max_size=4), unique=True, max_size=30), st.integers(1, 9)
)
def test_a_few_prompts_are_in_order_and_the_fewer_are_among_the_more(texts: list[str], most: int) -> None:
    prompts = [user_prompt(text) for text in texts]
    chosen, more = few(prompts, most), few(prompts, most + 1)
    assert len(chosen) == min(most, len(prompts))
    assert [prompt for prompt in prompts if prompt in chosen] == list(chosen)
    assert all(prompt in more for prompt in chosen)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=30), st.text(min_size=1, max_size=8))
def test_a_prompts_part_does_not_depend_on_the_others(texts: list[str], text: str) -> None:
    def part(prompts: list[Prompt]) -> bool:
        tuning, test = split_prompts(prompts)
        assert len(tuning) + len(test) == len(prompts)
        return prompts[-1] in tuning

    prompt = user_prompt(text)
    assert part([prompt]) == part([*(user_prompt(each) for each in texts), prompt])


def test_every_entry_of_the_register_is_written_as_its_example_says() -> None:
    for name, kind in KINDS.items():
        assert kind.form.partition(":")[0] == kind.example.partition(":")[0] == name
        assert (":" in kind.form) == (":" in kind.example)
        if not kind.runs_code and name != "kl":
            assert callable(metric_named(kind.example))


def test_every_metric_is_in_the_guide() -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs" / "calibration.md").read_text(encoding="utf-8")
    for kind in KINDS.values():
        assert f"| `{kind.form}` |" in guide
        assert f"`{kind.example}`" in guide


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("words:3", "words is written words"),
        ("distinct", "distinct is written distinct:N, such as distinct:2"),
        ("distinct:100", "a number of words from 1 to 99"),
        ("kl", "choose them with --off-target and bound it with --kl"),
        ("judge:os", "expected judge:MODULE:FUNCTION:FILE"),
        ("judge:os:getcwd:nowhere.txt", "nowhere.txt cannot be read"),
        ("python:nowhere:f", "on PYTHONPATH"),
        ("trait:nope", "no vector named 'nope'"),
        ("classifier:nope", "no classifier named 'nope'"),
    ],
)
def test_a_metric_written_wrongly_is_told_how_it_is_written(name: str, told: str) -> None:
    with pytest.raises(AssetError, match=re.escape(told)):
        metric_named(name)


def test_a_metric_of_the_users_that_fails_is_told_by_its_name() -> None:
    def broken(*_: object) -> list[float]:
        raise KeyError("tone")

    for metric, told in ((broken, "KeyError: 'tone'"), (lambda *_: None, "got None, expected a list of 1")):
        with pytest.raises(AssetError, match=f"metric 'mine'.*{told}"):
            scored("mine", metric, ASKED, ["a"])  # type: ignore[arg-type]  # wrong on purpose


def test_a_judge_is_named_with_its_question_in_a_file(tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("{prompt} {reply} Rate it from 1 to 5. Some answer 4")
    judge = metric_named(f"judge:tests.lab.measure.test_metrics:echo:{rubric}")
    assert judge(ASKED, ["There."]) == [4.0]


def echo(question: str) -> str:
    """Answer with the question."""
    return question


def test_a_register_can_hold_kinds_of_the_users_own() -> None:
    mine = {**KINDS, "shout": Kind("shout", "capital letters", "shout", lambda _rest, _catalog: words)}
    assert metric_named("shout", kinds=mine) is words
    with pytest.raises(AssetError, match="no such metric"):
        metric_named("shout")


def test_perplexity_waits_for_its_model_and_is_the_exponential_of_the_loss() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    unbound = metric_named("perplexity")
    with pytest.raises(AssetError, match="needs a model"):
        scored("perplexity", unbound, ASKED, ["ab"])
    found = bound(unbound, model, tokenizer)(ASKED, ["ab"])[0]
    assert math.log(found) == pytest.approx(nats_a_token(model, tokenizer)(ASKED, ["ab"])[0])
    assert bound(words, model, tokenizer) is words


def test_refusals_are_found_by_their_phrases_and_politeness_is_not_taken_for_one() -> None:
    replies = [
        "I'm sorry, but I can't help with that.",
        "As an AI, I do not judge.",
        "I must decline to answer.",
        "I am sorry to hear that your bill is wrong.",
        "You can't park there, but I can help.",
        "Sure. " + "x" * 300 + " I can't help with that.",
    ]
    assert metric_named("refusing")(ASKED * 6, replies) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_the_guide_says_how_many_refusals_the_phrases_find() -> None:
    root = Path(__file__).resolve().parents[3]
    refusals = [pair.positive.reply or "" for pair in load_recipe(root / "vectors" / "refusal").pairs]
    others = [
        side.reply or ""
        for name in AUTHORED
        if name != "refusal"
        for pair in load_recipe(root / "vectors" / name).pairs
        for side in (pair.positive, pair.negative)
    ]
    refusing = metric_named("refusing")
    found, wrong = (int(sum(refusing([], replies))) for replies in (refusals, others))
    guide = (root / "docs" / "calibration.md").read_text(encoding="utf-8")
    assert f"of the {len(refusals)} refusals" in guide
    assert (
        f"it finds {found}, and of {len(others):,} replies of the other recipes it takes {wrong} for" in guide
    )


@pytest.mark.parametrize(
    "metric", ["python:os:getcwd", "judge:os:getcwd:rubric.txt", "trait:./mine", "kl", "words:2"]
)
def test_a_recipe_names_no_code_no_path_and_nothing_that_is_no_metric(metric: str) -> None:
    with pytest.raises(ValidationError):
        MeasureRow(metric=metric)
    assert MeasureRow(metric="trait:formality").measure().metric == "trait:formality"
