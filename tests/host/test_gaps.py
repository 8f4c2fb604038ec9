"""Columns of a row that are out of a pass leave no trace in it, or the model is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from guardsteer.errors import UnsupportedError
from guardsteer.host import Gap, check_retraction, find_layout, put_gaps, windows_of
from tests.models import ARCHITECTURES, LINEAR_ATTENTION, tiny

SHORT_WINDOWS = ("gemma2", "gemma3_text", "gpt_neo", "gpt_oss")
COUNTS_COLUMNS = ("mpt",)
REFUSED = {*LINEAR_ATTENTION, *SHORT_WINDOWS, *COUNTS_COLUMNS}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_passes_exactly_if_what_was_taken_back_leaves_no_trace(
    architecture: str, dtype: torch.dtype
) -> None:
    model = tiny(architecture, dtype=dtype)
    layout = find_layout(model)
    if architecture in REFUSED:
        with pytest.raises(UnsupportedError, match="revise"):
            check_retraction(model, layout)
    else:
        check_retraction(model, layout)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3_text", "gpt_oss"])
def test_a_window_is_told_and_does_not_count_while_it_holds_everything(architecture: str) -> None:
    model = tiny(architecture, sliding_window=64)
    check_retraction(model, find_layout(model))
    assert windows_of(model) == {"sliding_window": 64}
    assert windows_of(tiny("llama")) == {}


def test_only_the_gapped_row_of_any_mask_changes_and_no_tensor_in_place() -> None:
    ids = torch.zeros(2, 1, dtype=torch.long)
    gaps = [Gap(1, ((2, 4),), 2)]
    low = torch.finfo(torch.float32).min
    masks: list[tuple[Any, Any]] = [
        (None, [[1, 1, 1, 1, 1], [1, 1, 0, 0, 1]]),
        (torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]), [[0, 1, 1, 1, 1], [1, 1, 0, 0, 1]]),
        (torch.ones(1, 1, 1, 5, dtype=torch.bool), [[[[1, 1, 1, 1, 1]]], [[[1, 1, 0, 0, 1]]]]),
        (torch.zeros(2, 1, 1, 5), [[[[0, 0, 0, 0, 0]]], [[[0, 0, low, low, 0]]]]),
    ]
    for mask, wanted in masks:
        before = None if mask is None else mask.clone()
        kwargs: dict[str, Any] = {"attention_mask": mask, "position_ids": torch.tensor([[4], [4]])}
        put_gaps(kwargs, gaps, ids, 5)
        assert kwargs["attention_mask"].tolist() == wanted
        assert kwargs["position_ids"].tolist() == [[4], [2]]
        assert mask is None or (before is not None and torch.equal(mask, before))
    nested: dict[str, Any] = {"attention_mask": {"full": masks[2][0]}, "position_ids": torch.tensor([[4]])}
    put_gaps(nested, gaps, ids, 5)
    assert nested["attention_mask"]["full"].tolist() == masks[2][1]
    assert nested["position_ids"].tolist() == [[4], [2]]


@pytest.mark.parametrize("mask", [torch.ones(2, 3), torch.ones(3, 1, 1, 5), "flex"])
def test_a_mask_of_another_form_is_refused(mask: Any) -> None:
    with pytest.raises(UnsupportedError, match="taken back"):
        put_gaps({"attention_mask": mask}, [Gap(0, ((1, 2),), 1)], torch.zeros(2, 1, dtype=torch.long), 5)
