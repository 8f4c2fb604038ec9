"""The guard on a model: its hooks, its ``generate``, its end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from guardsteer.core.policy import Policy
from guardsteer.errors import RequestError, UnsupportedError
from guardsteer.runtime.admission import admit
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.building import Builder
from guardsteer.runtime.chatting import chat_inputs
from guardsteer.runtime.following import follow
from guardsteer.runtime.hooking import Hooks
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.provenance import call_of
from guardsteer.runtime.settings import add_halting, read_settings, sequences_of
from guardsteer.runtime.switch import Switch
from guardsteer.runtime.watching import Watcher

__all__ = ["Guard"]

_KEPT_POLICIES = 8

CONTINUOUS = ("generate_batch", "init_continuous_batching", "continuous_batching_context_manager")
"""Ways into continuous batching, which fails request by request instead of raising."""


def _refused(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> Any:
        raise UnsupportedError(
            f"{name}: continuous batching packs requests into one row without saying which token is "
            "whose, so a guarded model refuses it. Use guard.generate with a padded batch, or detach first."
        )

    return refuse


class Guard:
    """A model under a policy; made by ``guardsteer.wrap``.

    Usable as a context manager that detaches at the end. Several threads may generate at once.
    """

    def __init__(
        self, builder: Builder, kit: Kit, auditor: Auditor, *, stop_file: Path | None = None
    ) -> None:
        self._builder = builder
        self._model = model = builder.model
        self._tokenizer = builder.tokenizer
        self._kit = kit
        self._auditor = auditor
        self._switch = Switch(auditor.guard_id, auditor.append, stop_file)
        self._lock = threading.Lock()
        self._adopting = threading.Lock()
        self._in_flight: Counter[Kit] = Counter()
        self._known: dict[str, Kit] = {kit.policy.digest: kit}
        self._open: set[Kit] = {kit}
        self._watchers: list[Watcher] = []
        self._hooks = Hooks(model, kit.layout)
        self._hooks.add(kit.points)
        self._on = True
        self._replaced = {"generate": self.generate} | {
            name: _refused(name) for name in CONTINUOUS if hasattr(model, name)
        }
        vars(model).update(self._replaced)
        auditor.attached()

    @property
    def policy(self) -> Policy:
        """The policy under which requests are admitted now."""
        return self._kit.policy

    @property
    def attached(self) -> bool:
        """True until ``detach``."""
        return self._on

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def generate(self, inputs: Tensor | None = None, *, guard: Any = None, **kwargs: Any) -> Any:
        """Generate as the model's own ``generate`` does, under the policy; returns what that returns.

        ``guard`` holds one mapping for each row of the batch (a single mapping for one row):
        ``request`` (an id for the audit), ``turns`` (from ``chat``) and the policy's context keys.
        Raises ``RequestError`` for inconsistent inputs and ``UnsupportedError`` for a way of running
        under which steering would not be exact, both before the first token; ``HostError`` where passes go
        by the guard, before it too where that shows in time.
        """
        self._check_attached()
        if self._hooks.busy:
            raise UnsupportedError("generate was called inside a guarded generate of the same thread")
        self._hooks.check()
        if inputs is not None:
            if kwargs.get("input_ids") is not None:
                raise RequestError("got both inputs and input_ids; pass the token ids once")
            kwargs["input_ids"] = inputs
        with self._admitted() as kit:
            return self._generate(kit, guard, kwargs)

    def _generate(self, kit: Kit, guard: Any, kwargs: dict[str, Any]) -> Any:
        settings = read_settings(self._model, kit, kwargs)
        admission = admit(
            kit, kwargs, guard, eos=settings.eos, pad=settings.pad, expansion=settings.expansion
        )
        following = follow(
            kit,
            self._model,
            kwargs,
            settings.config,
            rows=admission.rows,
            width=admission.width,
            eos=settings.eos,
            pad=settings.pad,
        )
        call = (
            call_of(self._model, settings.config, kwargs, rows=len(admission.requests), width=admission.width)
            if self._auditor.on
            else None
        )
        generation = admission.begin(kit, self._auditor, self._switch, beams=settings.beams, call=call)
        add_halting(kit, kwargs, generation, settings)
        prompts, finals = kwargs["input_ids"], None
        if following is not None:
            following.begin(generation, kwargs)
        with self._hooks.running(generation):
            try:
                output = type(self._model).generate(self._model, **kwargs)
                generation.end_pass()
                if following is not None:
                    output, finals = following.end(generation, output, prompts)
            except BaseException as error:
                admission.fail(generation, self._auditor, error)
                raise
        sequences = sequences_of(output)
        admission.end(generation, self._auditor, sequences, settings.eos, settings.pad, finals, call)
        return output

    def chat(
        self, messages: Sequence[Any], *, add_generation_prompt: bool = True, **template: Any
    ) -> dict[str, Any]:
        """Return the inputs of ``generate`` for one chat or a list of chats, with their turns.

        ``messages`` is a list of ``{"role", "content"}``, or a list of such lists. The result holds
        ``input_ids`` and ``attention_mask`` (``[row, column]``, padded on the left) and ``guard``, to which
        request ids and context may be added. Raises ``TurnsError`` where the turns cannot be located.
        """
        return chat_inputs(
            self._model, self._tokenizer, messages, add_generation_prompt=add_generation_prompt, **template
        )

    # --- change while running ----------------------------------------------------------------

    def reload(
        self, policy: Policy | str | Path, *, source: str = "reload", require_tests: bool = False
    ) -> str:
        """Admit requests under another policy from now on; return its digest.

        It is loaded, run against the cases beside it (``tests.yaml``; ``require_tests`` refuses a policy
        without), built for this model and tried, all before anything changes. Requests under way keep
        the policy that they were admitted under. Raises what ``guardsteer.wrap`` raises, and
        ``PolicyError`` for cases that fail; the policy in force then stays, and the audit says why.
        """
        with self._adopting:
            self._check_attached()
            try:
                kit = self._builder.build(self._builder.policy(policy), tested=True, required=require_tests)
            except Exception as error:
                self._auditor.refused(policy, error)
                raise
            self._adopt(kit, source)
        return kit.policy.digest

    def rollback(self, digest: str | None = None) -> str:
        """Go back to a policy that was in force before, by its digest or the start of it; return the digest.

        Without ``digest``: to the one before the present one. The last eight are kept. Raises
        ``RequestError`` where none or several fit.
        """
        with self._adopting:
            self._check_attached()
            others = [known for known in self._known if known != self.policy.digest]
            found = others[-1:] if digest is None else [one for one in self._known if one.startswith(digest)]
            if len(found) != 1:
                kept = ", ".join(self._known)
                raise RequestError(
                    f"rollback to {digest or 'the policy before'}: {len(found)} policies fit; kept are {kept}"
                )
            self._adopt(self._known[found[0]], "rollback")
        return found[0]

    def watch(self, policy: str | Path, *, every_s: float = 1.0) -> Watcher:
        """Reload ``policy``, a file or folder, whenever it changes, until ``detach``.

        A change is seen after ``every_s`` seconds at most. A policy that cannot be adopted is refused as
        ``reload`` refuses it, and logged. The watcher's ``close`` ends it too.
        """
        self._check_attached()
        watcher = Watcher(self, Path(policy), every_s)
        self._watchers.append(watcher)
        return watcher

    def stop(self, reason: str = "") -> None:
        """Throw the kill switch: no pass that begins after this returns is steered, in any request.

        Rules go on being evaluated and audited, and ``halt``, ``revise`` and ``hold_back`` go on acting:
        they steer nothing. ``reason`` is recorded.
        """
        self._switch.stop(reason)

    def resume(self, reason: str = "") -> None:
        """Take ``stop`` back. The file and the variable of the kill switch go on counting."""
        self._switch.resume(reason)

    @property
    def stopped(self) -> bool:
        """True while the kill switch is thrown, whoever threw it."""
        return bool(self._switch.causes)

    def _adopt(self, kit: Kit, source: str) -> None:
        digest = kit.policy.digest
        with self._lock:
            self._hooks.add(kit.points)
            self._kit = kit
            self._open.add(kit)
            self._known.pop(digest, None)
            self._known[digest] = kit
            while len(self._known) > _KEPT_POLICIES:
                self._known.pop(next(iter(self._known)))
            self._sweep()
            self._auditor.adopted(kit, source)

    def _sweep(self) -> None:
        """Take off the hooks and end the threads that nothing needs any more."""
        kits = [self._kit, *self._in_flight]
        self._hooks.keep({point for kit in kits for point in kit.points})
        for kit in self._open - {*self._known.values(), *kits}:
            self._open.remove(kit)
            kit.close()

    def detach(self) -> None:
        """Take the guard off; the model is as it was, bit for bit. Does nothing the second time.

        Raises ``RequestError`` while a generation is under way.
        """
        for watcher in self._watchers:
            watcher.close()
        with self._lock:
            if not self._on:
                return
            if self._in_flight:
                raise RequestError(
                    f"{self._in_flight.total()} generations are under way; detach when they have ended"
                )
            self._on = False
            self._hooks.remove()
            for name in self._replaced:
                vars(self._model).pop(name, None)
        for kit in self._open:
            kit.close()
        self._auditor.detached()

    def _check_attached(self) -> None:
        if not self.attached:
            raise RequestError("this guard was detached; wrap the model again")

    # --- one call ----------------------------------------------------------------------------

    @contextmanager
    def _admitted(self) -> Iterator[Kit]:
        """Give the kit in force to a request, which keeps it to its end."""
        with self._lock:
            self._check_attached()
            kit = self._kit
            self._in_flight[kit] += 1
        try:
            yield kit
        finally:
            with self._lock:
                self._in_flight[kit] -= 1
                if not self._in_flight[kit]:
                    del self._in_flight[kit]
                    self._sweep()
