"""An imported direction is bound to the model at hand, and steers there as one that was extracted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guardsteer.errors import LayoutError, VectorError
from guardsteer.host import fingerprint
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.extraction.importing import About, import_vector
from guardsteer.steer import load_vector, save_vector
from guardsteer.steer.interchange import FORMATS, Foreign, export_vector, read_foreign
from tests.lab.chats import chat_model, chat_tokenizer, recipe
from tests.models import BLOCKS, WIDTH

ABOUT = About("warmth", "The answer is warm.", "MIT")


def _foreign(blocks: tuple[int, ...] = (1, 2), width: int = WIDTH, length: float = 3.0) -> Foreign:
    rng = np.random.default_rng(0)
    rows = {block: rng.normal(size=width) for block in blocks}
    rows = {block: length * row / np.linalg.norm(row) for block, row in rows.items()}
    return Foreign(rows, "gguf: x.gguf", "b3:" + "1" * 64, "mistral")


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_a_vector_that_went_out_and_came_back_has_the_same_directions(tmp_path: Path, suffix: str) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    vector = extract(model, tokenizer, recipe())
    if suffix == ".gguf":
        pytest.importorskip("gguf")
        vector = extract(model, tokenizer, recipe(), blocks=range(1, BLOCKS))
    export_vector(vector, tmp_path / f"warmth{suffix}")
    back = import_vector(model, tokenizer, read_foreign(tmp_path / f"warmth{suffix}"), ABOUT).vector
    assert back.blocks == vector.blocks
    np.testing.assert_allclose(back.directions, vector.directions, atol=1e-6)
    assert (back.card.method, back.card.read, back.card.pairs) == ("imported", "not_known", 0)
    path = save_vector(back, tmp_path / "out")
    mine = fingerprint(model, tokenizer)
    assert load_vector(path, fingerprint=mine).digest == back.digest
    with pytest.raises(VectorError, match="belongs to another model"):
        load_vector(path, fingerprint=fingerprint(chat_model(seed=1), tokenizer))


def test_the_file_s_own_length_is_told_in_strengths() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    once = import_vector(model, tokenizer, _foreign((1,)), ABOUT)
    norm = once.vector.residual_norm(1)
    assert f"strength {3.0 / norm:.3g} here" in "\n".join(once.notes)
    assert "for a mistral, the model is a llama" in "\n".join(once.notes)
    double = import_vector(model, tokenizer, _foreign((1,), length=6.0), ABOUT)
    np.testing.assert_allclose(double.vector.directions, once.vector.directions, atol=1e-7)
    other = import_vector(model, tokenizer, _foreign((1,)), ABOUT, texts=["abc abc", "xyz"])
    assert other.vector.residual_norm(1) != norm


@pytest.mark.parametrize("hint", ["LLAMA", "llama", "Ll-a_ma", "LlamaForCausalLM"])
def test_the_same_kind_of_model_written_otherwise_is_no_other_kind(hint: str) -> None:
    found = replace(_foreign((1,)), model_hint=hint)
    notes = import_vector(chat_model(), chat_tokenizer(), found, ABOUT).notes
    assert "the file says" not in "\n".join(notes)


def test_a_direction_that_does_not_fit_the_model_is_refused() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    with pytest.raises(VectorError, match=f"block {BLOCKS}, but the model has {BLOCKS} blocks"):
        import_vector(model, tokenizer, _foreign((BLOCKS,)), ABOUT)
    with pytest.raises(VectorError, match="directions are 7 wide"):
        import_vector(model, tokenizer, _foreign(width=7), ABOUT)
    with pytest.raises(VectorError, match="no text has two tokens"):
        import_vector(model, tokenizer, _foreign(), ABOUT, texts=[""])
    with pytest.raises(VectorError, match="field 'name'"):
        import_vector(model, tokenizer, _foreign(), About("No Name", "x", "MIT"))
    with pytest.raises(LayoutError, match="no softmax attention"):
        import_vector(chat_model("mamba"), tokenizer, _foreign(), ABOUT, site="heads")
