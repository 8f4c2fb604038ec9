"""A run with everything on that writes anything: all that a guard can record, with secrets planted in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.errors import GuardsteerError, RequestError
from guardsteer.telemetry import OperationalLog
from tests.runtime.harness import SPECIAL, LastCharacters, LastState, bench, policy_file

__all__ = ["SECRETS", "drive"]

TEMPLATE = "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] }}{% endfor %}"
SECRETS = {
    "system": "Be kind to Quenby Thackeray-0417",
    "user": "my passphrase is Zephyr+Obelisk/77?",
    "assistant": "I noted account 4929-1180-3377",
    "subject": "Marisol.Vandermeer",
    "undeclared": "diagnosis: hyperthymesia",
    "folder": "merger-with-Blackwood",
    "streamer": "raised with Kestrel-Ninety",
}
POLICY = """
guardsteer: 1
name: everything
context: {tier: int}
classifiers:
  asked: {use: ./none, on: prompt}
  said: {use: ./none, on: generation}
  quoting: {use: ./none, on: prompt}
  guarded: {use: ./none, on: all, deadline_ms: 5000, breaker: {failures: 1, rest_s: 600}, on_error: open}
flags:
  up: {signal: said.score, enter: 0.6, exit: 0.3}
vectors:
  one: {use: ./none, positions: [last_prompt_token, generated]}
  two: {use: ./none, positions: [generated]}
  three: {use: ./none, positions: [all]}
overrides: [{vector: one, from: 0.1, to: 1.0}]
rules:
  - {id: push, when: up || guarded.score > 0.5, add: {vector: one, strength: 0.8}}
  - {id: pull, when: said.score >= 0.4 && quoting.score < 0.5, subtract: {vector: two, strength: 0.5}}
  - {id: whole, when: asked.score >= 0.0, add: {vector: three, strength: 0.3}}
  - {id: again, when: step == 4, revise: {tokens: 2, then: continue}}
  - {id: stop, when: 'request.route == "closed" && step >= 5', halt: true}
  - {id: wait, when: up, hold_back: 2}
fallback: "No."
"""


class Quoting(LastCharacters):
    """Raises with what it reads, as a careless classifier does."""

    def start(self) -> LastState:
        return QuotingState(self.seed)


class QuotingState(LastState):
    def push(self, text: str) -> None:
        super().push(text)
        raise ValueError(f"cannot parse {self.text!r}")


def drive(folder: Path) -> list[list[int]]:
    """Generate with everything on that writes anything; return all token ids of prompts and answers."""
    made = bench("llama", template=TEMPLATE)
    place = folder / SECRETS["folder"]
    place.mkdir()
    path = policy_file(place, POLICY)
    (place / "bad.yaml").write_text("guardsteer: 1\nname: [")
    texts: list[list[int]] = []

    def fail(*_: Any) -> Any:
        raise KeyError(SECRETS["streamer"])

    streamer = type("Streamer", (), {"put": fail, "end": fail})()
    guard = guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=path,
        vectors=made.vectors,
        classifiers={**made.classifiers, "quoting": Quoting(3), "guarded": Quoting(4)},
        audit=folder / "log",
        audit_text=folder / "keys",
        stop_file=place / "stop",
        candidates={"other": path},
        observers=[OperationalLog()],
    )
    chat = [{"role": role, "content": SECRETS[role]} for role in ("system", "assistant", "user")]
    inputs = guard.chat(chat)
    about = {**inputs.pop("guard")[0], "subject": SECRETS["subject"], "tenant": "acme", "tier": 2}
    settings: dict[str, Any] = {"max_new_tokens": 24, "suppress_tokens": list(SPECIAL)}

    def generate(**changes: Any) -> None:
        extra = {"request": f"r-{len(texts)}", **changes.pop("about", {})}
        ids = guard.generate(**inputs, **settings, **changes, guard={**about, **extra})
        texts.extend(ids.tolist())

    generate(do_sample=False)
    generate(do_sample=True, num_return_sequences=2)
    generate(about={"route": "closed"}, do_sample=False)
    generate(about={"strengths": {"one": 0.4}}, do_sample=False)
    guard.stop("drill")
    generate(do_sample=False)
    guard.resume("over")
    with pytest.raises(KeyError):
        generate(streamer=streamer, do_sample=False)
    with pytest.raises(RequestError):
        generate(about={"notes": SECRETS["undeclared"]})
    with pytest.raises(GuardsteerError):
        guard.reload(place / "bad.yaml")
    guard.reload(path)
    generate(do_sample=False)
    guard.detach()
    prompt = inputs["input_ids"][0].tolist()
    return [prompt, *(ids[len(prompt) :] for ids in texts)]
