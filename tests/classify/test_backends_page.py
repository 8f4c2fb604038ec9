"""The page on backends: every example on it runs."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path

import numpy as np
import pytest

from guardsteer.classify.files.writing import write_probe
from guardsteer.cli.main import main
from guardsteer.rules import parse_policy
from tests.classify.encoder_models import add_head, exported, make_model
from tests.classify.folders import FINGERPRINT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backends.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> list[str]:
    return [code for kind, code in _BLOCK.findall(PAGE.read_text(encoding="utf-8")) if kind == language]


def _probe(folder: Path, measure: str) -> None:
    write_probe(
        folder,
        weight=np.arange(1.0, 9.0)[None],
        bias=np.array([0.5]),
        outputs=("score",),
        block=1,
        fingerprint=FINGERPRINT,
        dtype="float32",
        about={"name": folder.name},
        measure="cosine" if measure == "cosine" else "projection",
    )


def _assets(root: Path, code: str) -> None:
    """Make in ``root`` what the page's examples name; ``code`` is that of ``my_models.py``."""
    make_model(root / "models" / "tiny")
    exported(root / "models" / "tiny", root / "encoders" / "tiny", pooling="mean")
    add_head(root / "tone", root / "encoders" / "tiny")
    make_model(root / "models" / "feeling", labels=["negative", "positive"])
    exported(root / "models" / "feeling", root / "sentiment")
    _probe(root / "hostile-probe", "projection")
    _probe(root / "warm", "cosine")
    (root / "my_models.py").write_text(code)
    draw = random.Random(0)
    with (root / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for place in range(160):
            words = ["".join(draw.choices("abcdefghij", k=6)) for _ in range(8)]
            said, label = (("refund furious", "angry"), ("thanks kind", "calm"))[place % 2]
            rows.writerow([f"{' '.join(words)} {said}", label])


def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the page's order, in one place, with the folders that it speaks of."""
    monkeypatch.chdir(tmp_path)
    blocks = _blocks("python")
    pipeline = next(code for code in blocks if "def bayes" in code)
    _assets(tmp_path, pipeline)
    command = next(line for code in _blocks("console") for line in code.splitlines() if "--pipeline" in line)
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)[2:]]
    assert main(words) == 0
    space: dict[str, object] = {}
    for code in blocks:
        exec(compile(code, str(PAGE), "exec"), space)
    assert len(blocks) >= 10


def test_every_policy_shown_is_one() -> None:
    """Each yaml block is a part of a policy that loads."""
    outputs = {"sentiment": ("negative", "positive"), "loud": ("score",)}
    for code in _blocks("yaml"):
        policy = parse_policy(
            f"guardsteer: 1\nname: shown\n{code}",
            "page.md",
            outputs=lambda spec: outputs.get(spec.name, ("score",)) if spec.name != "onset" else ("match",),
        )
        assert policy.classifiers


def test_every_backend_of_the_table_has_its_section() -> None:
    """What is listed is linked and told."""
    text = PAGE.read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(#([a-z-]+)\)", text))
    headings = {line[3:].lower().replace(" ", "-") for line in text.splitlines() if line.startswith("## ")}
    assert linked == headings
