"""Forward hooks that go on all together and come off without a trace.

A module with a torch hook leaves torch's short way of calling it for a long one: 11 us a call inside a
model's step, where a ``forward`` set on the instance, as accelerate does it, costs 1 to 3. The kinds
``around`` and ``before`` are that, for hooks that run at every step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

import torch

from guardsteer.errors import UnsupportedError
from guardsteer.host.outputs import hidden_of, with_hidden

__all__ = ["HookSet", "HookSpec", "attach"]

# A name of this module is at hand; one of torch's, among thousands, comes from memory again at every step.
_Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One hook to register.

    ``forward``: ``function(module, args, output)`` may return a new output. ``around``: ``function(hidden)``
    is given the output's hidden states and may return new ones, before any hook that others registered, and
    nearly free. ``before``: ``function(module, args, kwargs)`` may return new ``(args, kwargs)``, after all
    hooks of others, as cheaply. The other fields are not for these two.
    ``forward_pre``: ``function(module, args)`` may return new arguments.
    ``with_kwargs`` adds the keyword arguments after ``args``; ``prepend`` puts the hook before those that
    are there already (so that captured states are steered ones); ``always_call`` (``forward`` only) calls
    it when the forward raised, too. ``traceable`` lets ``torch.compile`` look inside, for functions of
    tensors alone; any other runs as Python between two graphs (0.3 us a call), since each of its decisions
    would make a graph of its own.
    """

    module: torch.nn.Module
    kind: Literal["forward", "forward_pre", "around", "before"]
    function: Callable[..., Any]
    prepend: bool = False
    with_kwargs: bool = False
    always_call: bool = False
    traceable: bool = False


class _Handle(Protocol):
    def remove(self) -> None: ...


class _Around:
    """A ``forward`` for one instance of a module: the former one, and what a hook makes of an end of it."""

    __slots__ = ("__wrapped__", "_before", "_former", "_function", "_module", "_rests")

    def __init__(self, module: torch.nn.Module, function: Callable[..., Any], *, before: bool) -> None:
        self._module = module
        self._before = before
        self._function: Callable[..., Any] | None = function
        self.__wrapped__: Callable[..., Any]
        self._put_on()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self._function
        if function is None:
            return self.__wrapped__(*args, **kwargs)
        if self._before:
            changed = function(self._module, args, kwargs)
            if changed is not None:
                args, kwargs = changed
            return self.__wrapped__(*args, **kwargs)
        output = self.__wrapped__(*args, **kwargs)
        if type(output) is _Tensor:
            changed = function(output)
            return output if changed is None else changed
        changed = function(hidden_of(output))
        return output if changed is None else with_hidden(output, changed)

    def __deepcopy__(self, _: Any) -> NoReturn:
        raise UnsupportedError(
            f"a {type(self._module).__name__} cannot be copied while it is guarded: the copy would run the "
            "original's weights. Detach first, copy, and wrap the copy"
        )

    def rest(self, resting: bool) -> None:
        """Step aside, or come back; stays where another library has put something around it."""
        if resting and vars(self._module).get("forward") is self:
            self._take_off()
            self._rests = True
        elif self._rests and not resting:
            self._put_on()

    def _put_on(self) -> None:
        own = vars(self._module)
        self._rests = False
        self._former, self.__wrapped__ = own.get("forward"), self._module.forward
        own["forward"] = self

    def _take_off(self) -> None:
        if self._former is None:
            del vars(self._module)["forward"]
        else:
            vars(self._module)["forward"] = self._former

    @property
    def gone(self) -> bool:
        """True where another library has put the module's own forward back, and this with it aside."""
        return not self._rests and self._function is not None and "forward" not in vars(self._module)

    def remove(self) -> None:
        self._function = None
        own = vars(self._module)
        above: _Around | None = None
        found = own.get("forward")
        while isinstance(found, _Around) and found is not self:
            above, found = found, found.__wrapped__
        # What another library put around this one in the meantime is not ours to take off; below it,
        # this one passes everything on from now on.
        if found is not self:
            return
        if above is not None:
            above.__wrapped__, above._former = self.__wrapped__, self._former
        else:
            self._take_off()


class HookSet:
    """Hooks that were registered together; ``remove`` takes exactly these off, once."""

    def __init__(self, handles: Sequence[_Handle]) -> None:
        self._handles = list(handles)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._handles)

    def rest(self, resting: bool) -> None:
        """Spare the model the hooks of the kinds ``around`` and ``before`` for a while, or end that."""
        for handle in self._handles:
            if isinstance(handle, _Around):
                handle.rest(resting)

    @property
    def gone(self) -> bool:
        """True where others have taken one of the kinds ``around`` and ``before`` off, and that shows."""
        return any(handle.gone for handle in self._handles if isinstance(handle, _Around))

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
    handles: list[_Handle] = []
    try:
        for spec in specs:
            handles.append(_register(spec))
    except BaseException:
        _remove(handles)
        raise
    return HookSet(handles)


def _remove(handles: Sequence[_Handle]) -> None:
    for handle in reversed(handles):
        handle.remove()


def _register(spec: HookSpec) -> _Handle:
    if spec.kind in ("around", "before"):
        return _Around(spec.module, spec.function, before=spec.kind == "before")
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
    raise ValueError(f"kind: got {spec.kind!r}, expected 'forward', 'forward_pre', 'around' or 'before'")


def _opaque(function: Callable[..., Any]) -> Callable[..., Any]:
    disable: Any = torch.compiler.disable
    opaque: Callable[..., Any] = disable(function)
    return opaque
