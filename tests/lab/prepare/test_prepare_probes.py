"""``prepare`` makes the probes that a policy names for a model, or says how they could be made."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.classify.probe import load_probe
from guardsteer.errors import BindingError, ClassifierError, VectorError
from guardsteer.host import find_layout, fingerprint, render_chat
from guardsteer.host.capture import capture
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.prepare.prepare import prepare
from guardsteer.lab.probes.recipe import OfTexts, load_probe_recipe, read_blocks
from tests.lab.chats import chat_model, chat_tokenizer
from tests.lab.preparing import write_recipe_folder

POLICY = """\
guardsteer: 1
name: watched
classifiers:
  holds: {use: ./probe, on: generation}
flags:
  held: {signal: holds.score, enter: 0.6}
rules:
  - {id: note, when: held, observe: true}
"""
OF_VECTOR = (
    "format: guardsteer.probe/1\nname: warm-probe\nlicence: MIT\nvector: {recipe: ../warmth, block: 2}\n"
)
OF_TEXTS = (
    "format: guardsteer.probe/1\nname: mood\nlicence: MIT\ntexts: {positive: up, said_by: %s, block: 1}\n"
)
HEAD = "format: guardsteer.probe/1\nname: mood\nlicence: MIT\n"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Return a policy of a probe beside it, and the recipe of a vector."""
    write_recipe_folder(tmp_path / "warmth")
    (tmp_path / "probe").mkdir()
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def _texts(folder: Path) -> None:
    """Write texts of two labels, each of words of its own, so that none is nearly another."""
    draw = random.Random(0)
    rows = [
        {"text": "".join(draw.choice(letters) for _ in range(24)), "label": label}
        for _ in range(60)
        for label, letters in (("up", "aeiou "), ("down", "bcdfg "))
    ]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _prepare(policy: Path, out: Path, **changes: Any) -> Any:
    return prepare(chat_model(**changes), chat_tokenizer(), policy, out)


def test_a_probe_of_a_vector_is_made_found_and_not_made_again(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "probe" / "probe.yaml").write_text(OF_VECTOR)
    model, tokenizer = chat_model(), chat_tokenizer()
    with pytest.raises(VectorError, match="there is none yet") as caught:
        guardsteer.wrap(model, tokenizer, policy=policy)
    assert "guardsteer prepare" in str(caught.value)
    out = tmp_path / "out"
    made = _prepare(policy, out).made[0]
    assert (made.kind, made.state, made.name) == ("probe", "built", "probe")
    assert "on test data" in made.notes[0]
    probe = load_probe(made.path)
    assert (probe.name, probe.block, probe.fingerprint) == (
        "warm-probe",
        2,
        fingerprint(model, tokenizer).digest,
    )
    guardsteer.wrap(model, tokenizer, policy=policy, assets=[out]).detach()
    assert sorted(path.name for path in (tmp_path / "probe").iterdir()) == ["probe.yaml"]
    assert _prepare(policy, out).made[0].state == "there"
    write_recipe_folder(tmp_path / "warmth", praise="What luck that you ask")
    assert _prepare(policy, out).made[0].state == "built"


@pytest.mark.parametrize("said_by", ["user", "model"])
def test_a_probe_of_labelled_texts_tells_them_apart(policy: Path, tmp_path: Path, said_by: str) -> None:
    (tmp_path / "probe" / "probe.yaml").write_text(OF_TEXTS % said_by)
    _texts(tmp_path / "probe")
    report = _prepare(policy, tmp_path / "out")
    assert report.ok, report.lines()
    made = report.made[0]
    card = json.loads((made.path / "classifier.json").read_text())
    assert card["metrics"]["auroc"]["value"] > 0.8
    assert card["block"] == 1
    guardsteer.wrap(chat_model(), chat_tokenizer(), policy=policy, assets=[tmp_path / "out"]).detach()


def test_the_state_that_is_read_of_a_users_text_is_the_one_that_chooses_the_first_token() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    texts = ["Up we go.", "Down it all falls again, and more of it."]
    found = read_blocks(
        model, tokenizer, OfTexts(positive="a"), [Example(text, "a") for text in texts], [1], batch_size=2
    )[1]
    assert found.keys == tuple(texts)
    for text, state in zip(texts, found.hidden, strict=True):
        ids = render_chat(tokenizer, [{"role": "user", "content": text}]).input_ids
        alone = capture(model, find_layout(model), [1], torch.tensor([ids]))[1][0, -1]
        assert torch.allclose(torch.tensor(state), alone, atol=1e-5)


def test_every_token_of_a_models_text_is_read_as_a_state_of_its_own() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    recipe = OfTexts(positive="a", said_by="model")
    found = read_blocks(
        model, tokenizer, recipe, [Example("abc", "a"), Example("defgh", "b")], [1], batch_size=2
    )[1]
    assert found.labels == ("a",) * 3 + ("b",) * 5


def test_a_probe_without_a_recipe_is_refused_with_what_to_do_and_kept_where_it_fits(
    policy: Path, tmp_path: Path
) -> None:
    (tmp_path / "probe" / "probe.yaml").write_text(OF_VECTOR)
    built = _prepare(policy, tmp_path / "first").made[0].path
    (tmp_path / "probe" / "probe.yaml").unlink()
    for file in built.iterdir():
        file.rename(tmp_path / "probe" / file.name)
    fits = _prepare(policy, tmp_path / "out")
    assert [made.state for made in fits.made] == ["shipped"]
    changed = chat_model()
    with torch.no_grad():
        next(changed.parameters()).add_(0.01)
    report = prepare(changed, chat_tokenizer(), policy, tmp_path / "out")
    assert not report.runs
    told = "\n".join(report.lines())
    assert "holds no probe.yaml that says how it is made" in told
    assert "guardsteer vectors to-probe" in told
    with pytest.raises(BindingError, match="does not fit this model"):
        guardsteer.wrap(changed, chat_tokenizer(), policy=policy, assets=[tmp_path / "out"])


def test_after_a_changed_checkpoint_the_probe_is_made_anew_and_both_models_have_one(
    policy: Path, tmp_path: Path
) -> None:
    (tmp_path / "probe" / "probe.yaml").write_text(OF_VECTOR)
    out = tmp_path / "out"
    _prepare(policy, out)
    changed, tokenizer = chat_model(), chat_tokenizer()
    with torch.no_grad():
        next(changed.parameters()).add_(0.01)
    with pytest.raises(VectorError, match="guardsteer prepare"):
        guardsteer.wrap(changed, tokenizer, policy=policy, assets=[out])
    assert prepare(changed, tokenizer, policy, out).made[0].state == "built"
    for model in (changed, chat_model()):
        guardsteer.wrap(model, tokenizer, policy=policy, assets=[out]).detach()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vector: {recipe: warmth, blok: 2}", "4:26: vector.blok: Extra inputs are not permitted"),
        ("", "1:1: give either vector"),
        ("vector: {recipe: warmth}\ntexts: {positive: up}", "1:1: give either vector"),
        ("texts: {positive: up, said_by: nobody}", "4:23: texts.said_by: Input should be 'user' or 'model'"),
        ("texts: {positive: up, block: -1}", "4:23: texts.block: Input should be greater than or equal to 0"),
        ("texts: [", "5:1: this is not valid YAML"),
    ],
)
def test_every_mistake_of_a_probe_recipe_is_told_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "probe.yaml").write_text(f"{HEAD}{text}\n")
    with pytest.raises(ClassifierError) as caught:
        load_probe_recipe(tmp_path)
    assert message in str(caught.value)


def test_a_probe_that_cannot_be_made_is_told_and_leaves_nothing(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "probe" / "probe.yaml").write_text(OF_TEXTS % "user")
    (tmp_path / "probe" / "texts.jsonl").write_text('{"text": "one", "label": "up"}\n')
    report = _prepare(policy, tmp_path / "out")
    assert not report.runs
    assert "label" in "\n".join(report.lines())
    assert not list((tmp_path / "out").rglob("classifier.json"))
    assert not list((tmp_path / "out").rglob(".unfinished-*"))


def test_the_shipped_example_names_how_its_probe_is_made() -> None:
    folder = Path(__file__).resolve().parents[3] / "examples" / "says_and_holds" / "probe"
    recipe = load_probe_recipe(folder)
    assert recipe.vector is not None
    assert recipe.name == load_probe(folder).name
