"""``vectors to-probe`` writes a probe that a policy can name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.classify.probe import load_probe
from guardsteer.cli.main import main
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.steer import save_vector
from tests.lab.chats import chat_model, chat_tokenizer


def test_to_probe_writes_the_classifier_and_prints_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "warmth"
    recipe.mkdir()
    (recipe / "recipe.yaml").write_text(
        "format: guardsteer.recipe/1\nname: warmth\nversion: '1'\ntrait: Warm.\ndescription: Pairs.\n"
        "licence: Apache-2.0\nread: assistant_mean\nsplit: {extraction: 40, tuning: 30, test: 30}\n"
    )
    rows = [
        {
            "id": f"pair-{place}",
            "messages": [{"role": "user", "content": f"Where is parcel number {place}?"}],
            "positive": {"reply": f"How good that you ask after {place}."},
            "negative": {"reply": f"See the parcel list, line {place} of it."},
        }
        for place in range(60)
    ]
    (recipe / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, tokenizer = chat_model(), chat_tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    vector = save_vector(extract(model, tokenizer, load_recipe(recipe)), tmp_path / "vector")
    out = tmp_path / "warmth-probe"
    words = ["vectors", "to-probe", "--model", str(tmp_path / "model"), "--vector", str(vector)]
    assert main([*words, "--recipe", str(recipe), "--out", str(out), "--block", "1", "--json"]) == 0
    assert "auroc" in json.loads(capsys.readouterr().out)["metrics"]
    probe = load_probe(out)
    assert (probe.name, probe.block, probe.outputs) == ("warmth-probe", 1, ("score",))
    assert main([*words, "--recipe", str(recipe), "--out", str(out), "--block", "77"]) == 2
    assert "no direction for block 77" in capsys.readouterr().err
    cosine = tmp_path / "warmth-cosine"
    assert main([*words, "--recipe", str(recipe), "--out", str(cosine), "--measure", "cosine"]) == 0
    assert load_probe(cosine).measure == "cosine"
