"""Hidden states are found in and put back into every kind of output."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from guardsteer.host.outputs import hidden_of, with_hidden

_Pair = namedtuple("_Pair", ["hidden", "weights"])
_H = torch.zeros(1, 2, 3)
_NEW = torch.ones(1, 2, 3)
_REST = torch.full((4,), 7.0)


@pytest.mark.parametrize(
    "output",
    [_H, (_H,), (_H, _REST, None), [_H, _REST], _Pair(_H, _REST), {"hidden": _H, "rest": _REST},
     BaseModelOutputWithPast(last_hidden_state=_H, attentions=(_REST,))],
    ids=["tensor", "one", "tuple", "list", "namedtuple", "dict", "ModelOutput"],
)  # fmt: skip
def test_only_the_hidden_states_are_replaced(output: Any) -> None:
    replaced = with_hidden(output, _NEW)
    assert hidden_of(output) is _H
    assert type(replaced) is type(output)
    assert hidden_of(replaced) is _NEW
    if not isinstance(output, torch.Tensor):
        kept = list(output.values()) if isinstance(output, dict) else list(output)
        now = list(replaced.values()) if isinstance(output, dict) else list(replaced)
        assert all(a is b for a, b in zip(kept[1:], now[1:], strict=True))


@pytest.mark.parametrize("output", [None, 3, (), (None, _H), {}, {"a": 1}, "text"])
def test_an_output_without_hidden_states_is_an_error(output: Any) -> None:
    with pytest.raises(TypeError, match="no hidden states"):
        hidden_of(output)


@pytest.mark.parametrize("output", [None, 3, (), {}])
def test_nothing_is_put_into_an_output_that_holds_nothing(output: Any) -> None:
    with pytest.raises(TypeError, match="no hidden states"):
        with_hidden(output, _NEW)
