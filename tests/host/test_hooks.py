"""Hooks go on together or not at all, and come off without a trace."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from guardsteer.errors import UnsupportedError
from guardsteer.host.blocks import find_layout
from guardsteer.host.hooks import HookSpec, attach
from guardsteer.host.outputs import hidden_of, with_hidden
from tests.models import VOCABULARY, tiny


def _state(model: nn.Module) -> list[dict[str, Any]]:
    """Every attribute that a module keeps beside its parameters, buffers and children."""
    return [
        {
            key: copy.copy(value)
            for key, value in vars(module).items()
            if key not in {"_parameters", "_modules"}
        }
        for module in model.modules()
    ]


def _logits(model: Any) -> torch.Tensor:
    ids = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids).logits
    return logits


def _push(_module: nn.Module, _args: Any, output: Any) -> Any:
    return with_hidden(output, hidden_of(output) + 1.0)


def _pushed(hidden: torch.Tensor) -> torch.Tensor:
    return hidden + 1.0


def _specs(model: Any) -> list[HookSpec]:
    def before(_module: nn.Module, _args: Any, _kwargs: Any) -> None:
        return None

    return [
        HookSpec(model, "forward_pre", before, prepend=True, with_kwargs=True),
        HookSpec(model, "forward", lambda *_: None, with_kwargs=True, always_call=True),
        *(HookSpec(block, "forward", _push, prepend=True) for block in find_layout(model).blocks),
    ]


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "mixtral"])
def test_after_removal_no_hook_remains_and_logits_are_bit_identical(name: str) -> None:
    model = tiny(name)
    before, clean = _state(model), _logits(model)
    hooks = attach(_specs(model))
    assert len(hooks) == 6
    assert not torch.equal(_logits(model), clean)
    hooks.remove()
    assert len(hooks) == 0
    assert _state(model) == before
    assert torch.equal(_logits(model), clean)


def test_hooks_of_others_stay_and_keep_their_order() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[0]
    order: list[str] = []
    first = block.register_forward_hook(lambda *_: order.append("theirs"))
    hooks = attach([HookSpec(block, "forward", lambda *_: order.append("ours"), prepend=True)])
    second = block.register_forward_hook(lambda *_: order.append("later"))
    _logits(model)
    assert order == ["ours", "theirs", "later"]
    hooks.remove()
    order.clear()
    _logits(model)
    assert order == ["theirs", "later"]
    first.remove()
    second.remove()


def test_removing_twice_takes_nothing_else_off() -> None:
    model = tiny("llama")
    first = attach(_specs(model))
    first.remove()
    second = attach(_specs(model))
    steered = _logits(model)
    first.remove()
    assert torch.equal(_logits(model), steered)
    second.remove()


@pytest.mark.parametrize("failing", [0, 1, 3, 5])
def test_one_failing_registration_takes_the_others_off(failing: int) -> None:
    """Others register hooks before the try that would take them off."""
    model = tiny("llama")
    before = _state(model)
    specs = _specs(model)
    specs[failing] = HookSpec(_Refusing(), "forward", _push)
    with pytest.raises(RuntimeError, match="no hooks here"):
        attach(specs)
    assert _state(model) == before


class _Refusing(nn.Module):
    def register_forward_hook(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no hooks here")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (HookSpec(nn.Identity(), "forward_pre", print, always_call=True), "always_call"),
        (HookSpec(nn.Identity(), "backward", print), "got 'backward'"),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(spec: HookSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach([spec])


def test_an_always_called_hook_sees_a_forward_that_raised() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[2]
    calls: list[str] = []

    def fail(*_: Any) -> None:
        raise RuntimeError("block failed")

    hooks = attach(
        [
            HookSpec(model, "forward", lambda *_: calls.append("ended"), always_call=True),
            HookSpec(block, "forward", fail),
        ]
    )
    with pytest.raises(RuntimeError, match="block failed"):
        _logits(model)
    hooks.remove()
    assert calls == ["ended"]


def test_a_python_decision_in_a_hook_makes_no_graph_of_its_own_when_compiled() -> None:
    """A strength that changes at every call is applied as it is, from graphs made at the first call."""
    model: Any = tiny("llama", num_hidden_layers=1)
    graphs: list[int] = []
    strengths = [0.5 * step for step in range(4)]
    left = list(strengths)

    def count(graph: Any, _inputs: Any) -> Any:
        graphs.append(1)
        return graph.forward

    def push(_module: nn.Module, _args: Any, output: Any) -> Any:
        return with_hidden(output, hidden_of(output) + left.pop(0))

    hooks = attach([HookSpec(find_layout(model).blocks[0], "forward", push)])
    expected = [_logits(model) for _ in strengths]
    left.extend(strengths)
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend=count)
    made = []
    for logits in expected:
        torch.testing.assert_close(_logits(compiled), logits)
        made.append(len(graphs))
    hooks.remove()
    torch._dynamo.reset()
    assert made[0] > 0
    assert len(set(made)) == 1


def test_what_is_put_around_a_forward_acts_before_hooks_of_others_and_leaves_no_trace() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[1]
    before, clean = _state(model), _logits(model)
    block.register_forward_hook(lambda _m, _a, output: with_hidden(output, hidden_of(output) * 2.0))
    doubled = _logits(model)
    hooks = attach([HookSpec(block, "around", _pushed)])
    both = _logits(model)
    hooks.remove()
    assert torch.equal(_logits(model), doubled)
    block._forward_hooks.clear()
    assert _state(model) == before
    hooks = attach([HookSpec(block, "around", lambda hidden: (hidden + 1.0) * 2.0)])
    assert torch.equal(_logits(model), both)
    assert not torch.equal(both, doubled)
    hooks.remove()
    assert torch.equal(_logits(model), clean)


def test_what_others_put_around_a_forward_stays_when_ours_goes() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[0]
    clean = _logits(model)
    former = block.forward

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return former(*args, **kwargs)

    block.forward = theirs
    hooks = attach([HookSpec(block, "around", _pushed)])
    pushed = _logits(model)
    assert not torch.equal(pushed, clean)
    ours = block.forward

    def over(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    block.forward = over
    assert torch.equal(_logits(model), pushed)
    hooks.remove()
    assert vars(block)["forward"] is over
    assert torch.equal(_logits(model), clean)
    block.forward = theirs
    attach([HookSpec(block, "around", _pushed)]).remove()
    assert vars(block)["forward"] is theirs


def test_what_is_around_a_forward_comes_off_in_any_order() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[0]
    before, clean = _state(model), _logits(model)
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)):
        kinds: tuple[Any, ...] = ("before", "around", "before")
        hooks = [attach([HookSpec(block, kind, lambda *_: None)]) for kind in kinds]
        for place in order:
            hooks[place].remove()
            assert torch.equal(_logits(model), clean)
        assert _state(model) == before


def test_hooks_that_rest_leave_the_module_bare_and_come_back_as_they_were() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[0]
    before, clean = _state(model), _logits(model)
    hooks = attach([HookSpec(block, "around", _pushed), HookSpec(block, "forward", lambda *_: None)])
    pushed = _logits(model)
    for _ in range(2):
        hooks.rest(True)
        hooks.rest(True)
        assert "forward" not in vars(block)
        assert torch.equal(_logits(model), clean)
        hooks.rest(False)
        hooks.rest(False)
        assert torch.equal(_logits(model), pushed)
    hooks.rest(True)
    hooks.remove()
    assert _state(model) == before


def test_a_hook_stays_at_rest_or_awake_whatever_others_put_around_it() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[0]
    clean = _logits(model)
    hooks = attach([HookSpec(block, "around", _pushed)])
    pushed, ours = _logits(model), block.forward
    block.forward = lambda *args, **kwargs: ours(*args, **kwargs)
    hooks.rest(True)
    assert torch.equal(_logits(model), pushed)
    vars(block)["forward"] = ours
    hooks.rest(True)
    theirs = block.forward
    block.forward = lambda *args, **kwargs: theirs(*args, **kwargs)
    assert torch.equal(_logits(model), clean)
    hooks.rest(False)
    assert torch.equal(_logits(model), pushed)
    hooks.remove()
    assert torch.equal(_logits(model), clean)


def test_a_block_with_something_around_its_forward_refuses_to_be_copied() -> None:
    model = tiny("llama")
    hooks = attach([HookSpec(find_layout(model).blocks[0], "around", _pushed)])
    with pytest.raises(UnsupportedError, match="cannot be copied while it is guarded"):
        copy.deepcopy(model)
    hooks.remove()
    copy.deepcopy(model)


def test_what_is_put_before_a_forward_acts_on_what_hooks_of_others_made_and_leaves_no_trace() -> None:
    model = tiny("llama")
    block = find_layout(model).blocks[1]
    before, clean = _state(model), _logits(model)
    theirs = block.register_forward_pre_hook(lambda _m, args: (args[0] * 2.0, *args[1:]))
    doubled = _logits(model)

    def ours(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (args[0] / 2.0, *args[1:]), kwargs

    hooks = attach([HookSpec(block, "before", ours)])
    assert torch.equal(_logits(model), clean)
    assert not torch.equal(clean, doubled)
    hooks.remove()
    assert torch.equal(_logits(model), doubled)
    theirs.remove()
    silent = attach([HookSpec(block, "before", lambda *_: None)])
    assert torch.equal(_logits(model), clean)
    silent.remove()
    assert _state(model) == before
