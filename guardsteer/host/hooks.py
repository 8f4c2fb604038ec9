"""Forward hooks that go on all together and come off without a trace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.hooks import RemovableHandle

__all__ = ["HookSet", "HookSpec", "attach"]


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One hook to register.

    ``forward``: ``function(module, args, output)`` may return a new output.
    ``forward_pre``: ``function(module, args)`` may return new arguments.
    ``with_kwargs`` adds the keyword arguments after ``args``; ``prepend`` puts the hook before those that
    are there already (so that captured states are steered ones); ``always_call`` (``forward`` only) calls
    it when the forward raised, too. ``traceable`` lets ``torch.compile`` look inside, for functions of
    tensors alone; any other runs as Python between two graphs (0.3 us a call), since each of its decisions
    would make a graph of its own.
    """

    module: torch.nn.Module
    kind: Literal["forward", "forward_pre"]
    function: Callable[..., Any]
    prepend: bool = False
    with_kwargs: bool = False
    always_call: bool = False
    traceable: bool = False


class HookSet:
    """Hooks that were registered together; ``remove`` takes exactly these off, once."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self._handles = list(handles)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._handles)

    def remove(self) -> None:
        """Take every hook off; does nothing the second time."""
        with self._lock:
            handles, self._handles = self._handles, []
        _remove(handles)


def attach(specs: Sequence[HookSpec]) -> HookSet:
    """Register every hook, or none: where one cannot be registered, those before it are taken off again.

    Hooks of one module run in the order given, unless ``prepend`` reverses it.
    Raises what torch raised, or ``ValueError`` for a spec that makes no sense.
    """
    handles: list[RemovableHandle] = []
    try:
        for spec in specs:
            handles.append(_register(spec))
    except BaseException:
        _remove(handles)
        raise
    return HookSet(handles)


def _remove(handles: Sequence[RemovableHandle]) -> None:
    for handle in reversed(handles):
        handle.remove()


def _register(spec: HookSpec) -> RemovableHandle:
    function = spec.function if spec.traceable else _opaque(spec.function)
    if spec.kind == "forward":
        return spec.module.register_forward_hook(
            function, prepend=spec.prepend, with_kwargs=spec.with_kwargs, always_call=spec.always_call
        )
    if spec.kind == "forward_pre":
        if spec.always_call:
            raise ValueError("always_call: a forward_pre hook runs before anything can fail; leave it out")
        return spec.module.register_forward_pre_hook(
            function, prepend=spec.prepend, with_kwargs=spec.with_kwargs
        )
    raise ValueError(f"kind: got {spec.kind!r}, expected 'forward' or 'forward_pre'")


def _opaque(function: Callable[..., Any]) -> Callable[..., Any]:
    disable: Any = torch.compiler.disable
    opaque: Callable[..., Any] = disable(function)
    return opaque
