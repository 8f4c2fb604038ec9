"""A probe scores hidden states in float32 and belongs to one model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from guardsteer.classify.probe import Probe, load_probe
from guardsteer.errors import BindingError, ClassifierError
from guardsteer.host import Fingerprint
from tests.classify.folders import FINGERPRINT, edit_card, edit_tensors, linear_folder, probe_folder


def identity(*, width: int = 4, n_blocks: int = 2) -> Fingerprint:
    return Fingerprint("llama", "c", "w", "t", "float32", width, n_blocks)


def probe(*, fingerprint: str, block: int = 1) -> Probe:
    return Probe(
        name="state",
        outputs=("harm",),
        block=block,
        weight=torch.ones(1, 4),
        bias=torch.zeros(1),
        fingerprint=fingerprint,
        digest="b3:0",
    )


def test_scores_are_the_sigmoid_of_a_linear_map(tmp_path: Path) -> None:
    loaded = load_probe(probe_folder(tmp_path / "state"))
    hidden = torch.tensor([[[1.0, 0.5, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0]]])
    expected = torch.sigmoid(torch.tensor([[[-0.25, -6.0], [0.25, -1.0]]]))
    assert loaded.score(hidden).shape == (1, 2, 2)
    torch.testing.assert_close(loaded.score(hidden), expected)
    assert (loaded.outputs, loaded.block, loaded.width) == (("harm", "joy"), 1, 4)
    assert loaded.fingerprint == FINGERPRINT


def test_a_cosine_probe_is_one_after_a_round_trip_and_another_classifier_than_the_projection(
    tmp_path: Path,
) -> None:
    plain = load_probe(probe_folder(tmp_path / "one" / "state"))
    cosine = load_probe(probe_folder(tmp_path / "other" / "state", "cosine"))
    assert "measure" not in json.loads((tmp_path / "one" / "state" / "classifier.json").read_text())
    assert (plain.measure, cosine.measure) == ("projection", "cosine")
    assert plain.digest != cosine.digest
    hidden = torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.sigmoid(torch.tensor([[0.6 + 0.4 + 0.25, 2.4 - 1.0], [0.25, -1.0]]))
    torch.testing.assert_close(cosine.score(hidden), expected)
    edit_card(tmp_path / "other" / "state", lambda card: card.update(measure="angle"))
    with pytest.raises(ClassifierError, match="measure"):
        load_probe(tmp_path / "other" / "state")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_it_computes_in_float32_whatever_comes_in(tmp_path: Path, dtype: torch.dtype) -> None:
    loaded = load_probe(probe_folder(tmp_path / "state"))
    hidden = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = loaded.score(hidden)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loaded.score(hidden.to(torch.float32)))


def test_no_state_is_tracked_for_gradients(tmp_path: Path) -> None:
    loaded = load_probe(probe_folder(tmp_path / "state"))
    assert not loaded.score(torch.zeros(1, 4)).requires_grad


def test_its_own_model_is_accepted_and_any_other_refused() -> None:
    ours = identity()
    probe(fingerprint=ours.digest).check(ours)
    with pytest.raises(BindingError, match="trained on the model b3:"):
        probe(fingerprint="b3:other").check(ours)
    with pytest.raises(BindingError, match="width 4, this model has 8"):
        probe(fingerprint=ours.digest).check(identity(width=8))
    with pytest.raises(BindingError, match="reads block 2, this model has 2 blocks"):
        probe(fingerprint=ours.digest, block=2).check(ours)


def test_a_weight_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ClassifierError, match=r"\[output, width\]"):
        Probe(
            name="state",
            outputs=("harm",),
            block=0,
            weight=torch.ones(2, 4),
            bias=torch.zeros(1),
            fingerprint="b3:0",
            digest="b3:0",
        )


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = probe_folder(tmp_path / "width")
    edit_card(folder, lambda card: card.update(width=5))
    with pytest.raises(ClassifierError, match="shape"):
        load_probe(folder)
    folder = probe_folder(tmp_path / "nan")
    edit_tensors(folder, lambda tensors: {**tensors, "bias": np.array([np.inf, 0.0], dtype=np.float32)})
    with pytest.raises(ClassifierError, match="not finite"):
        load_probe(folder)
    with pytest.raises(ClassifierError, match="expected a probe"):
        load_probe(linear_folder(tmp_path / "linear"))
