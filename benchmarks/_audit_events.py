"""The events that a guarded request leaves behind, for the audit's benchmarks."""

from __future__ import annotations

from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Event,
    FlagChanged,
    RequestEnded,
    RequestStarted,
    RuleFired,
    RuleReleased,
)

TIME_NS = 1_700_000_000_000_000_000


def request_events(number: int) -> list[Event]:
    """Return the trail of one steered request: 12 events, about 330 bytes a line."""
    request = f"request-{number:08d}"
    scores: dict[str, float | None] = {"hostility.score": 0.8125 + number % 97 / 997, "intent.billing": 0.25}
    events: list[Event] = [
        RequestStarted(
            time_ns=TIME_NS,
            request=request,
            sequence=0,
            guard="0123456789abcdef0123456789abcdef",
            policy_digest="b3:" + "1" * 64,
            context={"tenant": "acme", "tier": 2},
            prompt_digest="hk:" + "2" * 64,
            prompt_tokens=42,
            settings={"max_new_tokens": 64, "do_sample": True, "temperature": 0.7},
        )
    ]
    for step in (0, 20):
        events += [
            FlagChanged(
                time_ns=TIME_NS + step,
                request=request,
                sequence=0,
                step=step,
                flag="hostile",
                up=True,
                score=0.8,
            ),
            RuleFired(
                time_ns=TIME_NS + step, request=request, sequence=0, step=step, rule="warm-up", scores=scores
            ),
            ActivationBegan(
                time_ns=TIME_NS + step,
                request=request,
                sequence=0,
                rule="warm-up",
                vector="empathy",
                vector_digest="b3:" + "3" * 64,
                operator="add",
                blocks=(4, 5, 6),
                position=42 + step,
                requested=0.3,
                applied=0.3,
                alphas=(1.2345678, 1.3456789, 1.456789),
                scores=scores,
            ),
            ActivationEnded(
                time_ns=TIME_NS + step,
                request=request,
                sequence=0,
                rule="warm-up",
                vector="empathy",
                first=42 + step,
                last=50 + step,
                tokens=9,
                applied=0.3,
            ),
            RuleReleased(
                time_ns=TIME_NS + step,
                request=request,
                sequence=0,
                step=step + 9,
                rule="warm-up",
                scores=scores,
            ),
        ]
    events.append(
        RequestEnded(
            time_ns=TIME_NS + 64,
            request=request,
            sequence=0,
            generated_tokens=64,
            steered_tokens=18,
            output_digest="hk:" + "4" * 64,
            reason="length",
        )
    )
    return events
