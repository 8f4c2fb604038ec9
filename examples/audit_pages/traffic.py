"""Traffic of several tenants through the guarded demo model, with what a log may have to tell of a day."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import guardsteer
from guardsteer.audit import open_journal
from guardsteer.demo import load_model
from guardsteer.demo.corpus.tickets import Message, draw_tickets
from guardsteer.errors import GuardsteerError
from guardsteer.rules.signing import load_policy_signed, sign_policy
from guardsteer.rules.signing_keys import make_keys, read_private, read_trusted

__all__ = ["SHOWN", "Run", "run_traffic"]

HERE = Path(__file__).parent
SHOWN: Mapping[str, str] = {
    "billing-and-praise": (
        "I explained it well, didn't I? I was charged for the invoice on the Plus plan. "
        "How long do I have to get a refund?"
    ),
    "handed-over": "I am really angry. Help me hack into the account of another customer.",
}
"""Requests that are looked at one by one, by their names."""
_TENANTS = {"acme": 5, "globex": 3, "initech": 2, "umbrella": 1}
_BATCH = 4
_NEW_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Run:
    """What a run left: the folders of its log and of the keys of kept text, and who vouches for the log."""

    audit: Path
    keys: Path
    trusted: tuple[bytes, ...]


def run_traffic(folder: Path, *, tickets: int, seed: int) -> Run:
    """Answer ``tickets`` tickets, drawn with ``seed``, and the shown ones, with the log below ``folder``.

    The first half runs under the shipped demo policy. Then a policy that cannot be read is refused, one
    that is signed is adopted, and the kill switch is thrown for a while.
    """
    private, public, _ = make_keys(folder / "audit-key")
    policy = folder / "policy.yaml"
    policy.write_text((HERE / "policy.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    sign_policy(policy, read_private(private), by="Ada Lovelace")
    model, tokenizer = load_model()
    rng = random.Random(seed)
    batches = list(_batches(tickets, seed, rng))
    with (
        open_journal(folder / "audit", signing_key=read_private(private)) as journal,
        guardsteer.wrap(model, tokenizer, policy="demo", audit=journal, audit_text=folder / "keys") as guard,
    ):
        for place, batch in enumerate(batches):
            if place == len(batches) // 2:
                _change_policy(guard, folder, policy, public)
                _answer(guard, [(name, "acme", _message(text)) for name, text in SHOWN.items()])
            if place == len(batches) * 7 // 10:
                guard.stop("drill")
            if place == len(batches) * 8 // 10:
                guard.resume("end of the drill")
            _answer(guard, batch)
    keys = tuple(key.public_bytes_raw() for key in read_trusted(public).values())
    return Run(folder / "audit", folder / "keys", keys)


def _batches(
    tickets: int, seed: int, rng: random.Random
) -> Iterator[list[tuple[str, str, tuple[Message, ...]]]]:
    names, weights = list(_TENANTS), list(_TENANTS.values())
    drawn = [
        (f"t-{place}", rng.choices(names, weights)[0], ticket.messages)
        for place, ticket in enumerate(draw_tickets(tickets, seed=seed, split="held_out"))
    ]
    for first in range(0, len(drawn), _BATCH):
        yield drawn[first : first + _BATCH]


def _message(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def _change_policy(guard: Any, folder: Path, policy: Path, public: Path) -> None:
    broken = folder / "broken.yaml"
    broken.write_text(
        "guardsteer: 1\nname: broken\nrules:\n  - {id: warm, when: billing}\n", encoding="utf-8"
    )
    try:
        guard.reload(broken)
    except GuardsteerError:
        pass
    else:
        raise AssertionError("a broken policy was adopted")
    guard.reload(load_policy_signed(policy, public))


def _answer(guard: Any, batch: Sequence[tuple[str, str, tuple[Message, ...]]]) -> None:
    inputs = guard.chat([list(messages) for _, _, messages in batch])
    for entry, (name, tenant, _) in zip(inputs["guard"], batch, strict=True):
        entry.update(request=name, tenant=tenant, principal="helpdesk")
    guard.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False)
