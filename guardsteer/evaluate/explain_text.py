"""Explanations as text for people: a paragraph for each rule, a line for each run of steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from guardsteer.evaluate.explain import Explanation, Part, RuleStory, Stretch

__all__ = ["format_explanation"]

_DIGEST_CHARACTERS = 15


def format_explanation(found: Explanation) -> str:
    """Return an explanation as lines.

    Without control characters: what a request brought along cannot steer a terminal.
    """
    lines = [*_heading(found)]
    for story in found.rules:
        lines += _story(story)
    if found.happenings:
        lines += ["", "what else happened", *(f"  {line}" for line in found.happenings)]
    if found.disagreements:
        lines += ["", "THE LOG DISAGREES WITH ITSELF", *(f"  {line}" for line in found.disagreements)]
    return "\n".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)


def _heading(found: Explanation) -> Iterator[str]:
    row = f", row {found.sequence}" if found.sequence else ""
    track = f", candidate {found.track}" if found.track else ""
    digest = found.policy_digest[:_DIGEST_CHARACTERS] + "..."
    words = [f"policy {found.policy} {digest}"]
    if found.approved:
        words.append(f"approved by {found.approved}")
    if found.mode:
        words.append(f"mode {found.mode}")
    if found.arm:
        words.append(f"arm {found.arm}")
    yield f"request {found.request}{row}{track}: {', '.join(words)}"
    yield f"steps 0 to {found.last_step}; {found.end}"
    for note in found.notes:
        yield f"note: {note}"


def _story(story: RuleStory) -> Iterator[str]:
    mode = "" if story.mode == "enforce" else f" ({story.mode})"
    yield ""
    yield f"{story.rule}{mode}, when {story.when}"
    if story.mode == "off":
        yield "  not evaluated: the policy's binding leaves it out"
    for stretch in story.stretches:
        yield from _stretch(stretch)


def _stretch(stretch: Stretch) -> Iterator[str]:
    steps = (
        f"step {stretch.first}" if stretch.first == stretch.last else f"steps {stretch.first}-{stretch.last}"
    )
    state = "fires" if stretch.fires else "rests"
    if stretch.condition in ("undecided", "unknown"):
        state += f" ({stretch.condition})"
    first, *others = [*map(_part, stretch.parts), *(f"-> {effect}" for effect in stretch.effects)] or [
        "always"
    ]
    yield f"  {steps:<13} {state:<7} {first}"
    for other in others:
        yield f"  {'':<13} {'':<7} {other}"


def _part(part: Part) -> str:
    if part.truth == "unknown":
        return f"{part.text}: not in the log"
    truth = {"true": "up", "false": "down"}.get(part.truth, part.truth) if part.moves else part.truth
    words = [f"{part.text} is {truth} since step {part.since}", *_scores(part.scores.items())]
    return ", ".join(words) + (f" ({part.moves})" if part.moves else "")


def _scores(scores: Iterable[tuple[str, float | None]]) -> Iterator[str]:
    for name, score in scores:
        value = "missing" if score is None else f"{score:.3g}"
        yield f"{name} {value}" if name else f"score {value}"
