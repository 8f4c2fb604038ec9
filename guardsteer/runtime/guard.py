"""The guard on a model: its hooks, its ``generate``, its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guardsteer.core.policy import Policy
from guardsteer.errors import RequestError, UnsupportedError
from guardsteer.host import (
    check_generation,
    hidden_of,
    refuse_compiled,
    refuse_packed,
    render_chat,
    with_hidden,
)
from guardsteer.host.hooks import HookSet, HookSpec, attach
from guardsteer.runtime.admission import admit
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.generation import Generation
from guardsteer.runtime.halting import Fallback, FallbackSaid
from guardsteer.runtime.kit import Kit

__all__ = ["Guard"]


CONTINUOUS = ("generate_batch", "init_continuous_batching", "continuous_batching_context_manager")
"""Ways into continuous batching, which fails request by request instead of raising."""


def _refused(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise UnsupportedError(
            f"{name}: continuous batching packs requests into one row without saying which token is "
            "whose, so a guarded model refuses it. Use guard.generate with a padded batch, or detach first."
        )

    return refuse


class _Current(threading.local):
    """The generation that this thread is in."""

    generation: Generation | None = None


@dataclass(frozen=True, slots=True)
class _Settings:
    """What of a call's generation settings decides how rows are read."""

    config: Any
    eos: frozenset[int]
    pad: int | None
    expansion: int
    beams: bool


class Guard:
    """A model under a policy; made by ``guardsteer.wrap``.

    Usable as a context manager that detaches at the end. Several threads may generate at once.
    """

    def __init__(self, model: Any, tokenizer: Any, kit: Kit, auditor: Auditor) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._kit = kit
        self._auditor = auditor
        self._current = _Current()
        self._lock = threading.Lock()
        self._in_flight = 0
        self._hooks: HookSet | None = attach(self._hook_specs())
        self._replaced = {"generate": self.generate} | {
            name: _refused(name) for name in CONTINUOUS if hasattr(model, name)
        }
        vars(model).update(self._replaced)
        auditor.attached()

    @property
    def policy(self) -> Policy:
        """The policy that this guard enforces."""
        return self._kit.policy

    @property
    def attached(self) -> bool:
        """True until ``detach``."""
        return self._hooks is not None

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def generate(self, inputs: Tensor | None = None, *, guard: Any = None, **kwargs: Any) -> Any:
        """Generate as the model's own ``generate`` does, under the policy; returns what that returns.

        ``guard`` holds one mapping for each row of the batch (a single mapping for one row):
        ``request`` (an id for the audit), ``turns`` (from ``chat``) and the policy's context keys.
        Raises ``RequestError`` for inconsistent inputs and ``UnsupportedError`` for a way of running
        under which steering would not be exact, both before the first token.
        """
        if not self.attached:
            raise RequestError("this guard was detached; wrap the model again")
        if self._current.generation is not None:
            raise UnsupportedError("generate was called inside a guarded generate of the same thread")
        if inputs is not None:
            if kwargs.get("input_ids") is not None:
                raise RequestError("got both inputs and input_ids; pass the token ids once")
            kwargs["input_ids"] = inputs
        settings = self._settings(kwargs)
        admission = admit(
            self._kit, kwargs, guard, eos=settings.eos, pad=settings.pad, expansion=settings.expansion
        )
        generation = admission.begin(self._kit, self._auditor, beams=settings.beams, settings=settings.config)
        self._add_halting(kwargs, generation, settings)
        with self._running(generation):
            try:
                output = type(self._model).generate(self._model, **kwargs)
                generation.end_pass()
            except BaseException as error:
                admission.fail(generation, self._auditor, error)
                raise
        admission.end(generation, self._auditor, _sequences(output), settings.eos, settings.pad)
        return output

    def chat(
        self, messages: Sequence[Any], *, add_generation_prompt: bool = True, **template: Any
    ) -> dict[str, Any]:
        """Return the inputs of ``generate`` for one chat or a list of chats, with their turns.

        ``messages`` is a list of ``{"role", "content"}``, or a list of such lists. The result holds
        ``input_ids`` and ``attention_mask`` (``[row, column]``, padded on the left) and ``guard``, to which
        request ids and context may be added. Raises ``TurnsError`` where the turns cannot be located.
        """
        chats = [messages] if messages and isinstance(messages[0], Mapping) else list(messages)
        rendered = [
            render_chat(self._tokenizer, chat, add_generation_prompt=add_generation_prompt, **template)
            for chat in chats
        ]
        width = max(len(chat.input_ids) for chat in rendered)
        pad = self._tokenizer.pad_token_id
        pad = pad if pad is not None else 0
        ids = [[pad] * (width - len(chat.input_ids)) + list(chat.input_ids) for chat in rendered]
        mask = [[0] * (width - len(chat.input_ids)) + [1] * len(chat.input_ids) for chat in rendered]
        device = self._model.device
        return {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.tensor(mask, device=device),
            "guard": [
                {"turns": [(turn.role, turn.first, turn.end) for turn in chat.turns]} for chat in rendered
            ],
        }

    def detach(self) -> None:
        """Take the guard off; the model is as it was, bit for bit. Does nothing the second time.

        Raises ``RequestError`` while a generation is under way.
        """
        with self._lock:
            if self._hooks is None:
                return
            if self._in_flight:
                raise RequestError(
                    f"{self._in_flight} generations are under way; detach when they have ended"
                )
            hooks, self._hooks = self._hooks, None
            hooks.remove()
            for name in self._replaced:
                vars(self._model).pop(name, None)
        self._auditor.detached()

    # --- hooks -------------------------------------------------------------------------------

    def _hook_specs(self) -> list[HookSpec]:
        model = self._model
        # Compiled models are refused, so nothing here is ever traced.
        return [
            HookSpec(model, "forward_pre", self._before, prepend=True, with_kwargs=True, traceable=True),
            *(
                HookSpec(self._kit.layout.blocks[block], "around", self._at(block))
                for block in self._kit.hooked_blocks
            ),
        ]

    def _before(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        generation = self._current.generation
        if generation is None:
            refuse_packed(kwargs)
            return
        ids = kwargs.get("input_ids")
        generation.begin_pass(ids if ids is not None or not args else args[0], kwargs.get("past_key_values"))

    def _at(self, block: int) -> Any:
        current = self._current

        def steer(_: Any, __: Any, output: Any) -> Any:
            generation = current.generation
            if generation is None:
                return None
            if generation.quiet:
                generation.visited += 1
                return None
            steered = generation.at_block(block, hidden_of(output))
            return None if steered is None else with_hidden(output, steered)

        return steer

    # --- one call ----------------------------------------------------------------------------

    @contextmanager
    def _running(self, generation: Generation) -> Iterator[None]:
        with self._lock:
            self._in_flight += 1
        self._current.generation = generation
        try:
            yield
        finally:
            self._current.generation = None
            generation.release()
            with self._lock:
                self._in_flight -= 1

    def _settings(self, kwargs: dict[str, Any]) -> _Settings:
        model = self._model
        refuse_compiled(model)
        config, _ = model._prepare_generation_config(kwargs.get("generation_config"), **_own(kwargs))
        check_generation(model, kwargs, config)
        eos = config.eos_token_id
        ends = frozenset(() if eos is None else [eos] if isinstance(eos, int) else [int(e) for e in eos])
        pad = config.pad_token_id
        beams = (config.num_beams or 1) > 1
        if beams and self._kit.halts and not ends:
            raise UnsupportedError(
                "the policy may halt a row, the model has no eos_token_id and beams are asked for: "
                "a halted beam could not end; set eos_token_id or generate without beams"
            )
        return _Settings(
            config=config,
            eos=ends,
            pad=int(pad) if pad is not None else None,
            expansion=max(config.num_beams or 1, config.num_return_sequences or 1),
            beams=beams,
        )

    def _add_halting(self, kwargs: dict[str, Any], generation: Generation, settings: _Settings) -> None:
        if not self._kit.halts:
            return
        tokens = self._kit.fallback
        end = min(settings.eos) if settings.eos else None
        kwargs["logits_processor"] = [
            *(kwargs.get("logits_processor") or ()),
            Fallback(generation, tokens, end),
        ]
        if end is None:
            kwargs["stopping_criteria"] = [
                *(kwargs.get("stopping_criteria") or ()),
                FallbackSaid(generation, tokens),
            ]


def _own(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != "generation_config"}


def _sequences(output: Any) -> list[list[int]]:
    sequences = output if isinstance(output, Tensor) else output.sequences
    ids: list[list[int]] = sequences.tolist()
    return ids
