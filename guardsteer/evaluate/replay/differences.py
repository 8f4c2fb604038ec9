"""What is not as it was when a request was recorded: what forbids a replay, and what may change its tokens.

Rounding. A token is the best of its row's logits, or is drawn by them; and a logit is a sum whose
rounding depends on the order of its terms. That order is the kernel's, which is chosen by library, device,
number of threads, kind of attention and the shapes of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from guardsteer.core.events import Attached, Resumed, Stopped
from guardsteer.evaluate.replay.places import Company
from guardsteer.evaluate.replay.record import Recorded
from guardsteer.runtime.provenance import Surroundings

__all__ = ["doubts", "mismatches", "model_mismatches", "short", "stopped_throughout"]

_PARTS = ("architecture", "config", "weights", "tokenizer", "dtype")
_COMPUTING = ("torch", "transformers", "onnxruntime")


def short(digest: str) -> str:
    """Return a digest as messages show it; what is none, as it is."""
    prefix, colon, digits = digest.partition(":")
    return f"{prefix}:{digits[:12]}..." if colon and len(digits) > 12 else digest


def mismatches(
    recorded: Recorded,
    model: Mapping[str, str],
    vectors: Mapping[str, str],
    classifiers: Mapping[str, str] | None,
) -> Iterator[str]:
    """Yield what of the model, vectors and classifiers (by name their digests) is not what was recorded.

    ``classifiers`` None: they are not asked.
    """
    yield from model_mismatches(recorded.attached, model)
    yield from _digests("vector", recorded.adopted.vectors, vectors)
    if classifiers is not None:
        yield from _digests("classifier", recorded.adopted.classifiers, classifiers)


def model_mismatches(attached: Attached, model: Mapping[str, str]) -> Iterator[str]:
    """Yield which parts of a model's identity are not what was recorded."""
    for part in _PARTS:
        was, is_now = attached.model.get(part, ""), model.get(part, "")
        if was != is_now:
            yield f"model: {part} was {short(was)}, is {short(is_now)}"


def _digests(kind: str, was: Mapping[str, str], is_now: Mapping[str, str]) -> Iterator[str]:
    for name, digest in was.items():
        if name not in is_now:
            yield f"{kind} {name!r}: was {short(digest)}, is missing"
        elif is_now[name] != digest:
            yield f"{kind} {name!r}: was {short(digest)}, is {short(is_now[name])}"


def doubts(recorded: Recorded, now: Surroundings, company: Company, *, forced: bool) -> Iterator[str]:
    """Yield why the tokens of a replay may differ though it was made as the record says."""
    then = recorded.attached
    yield from _surroundings(then, now)
    yield from _company(recorded, company)
    for name in recorded.started.unrecorded:
        yield f"generate was called with {name}, which no record can hold, and the replay does without"
    if forced:
        if recorded.ended.reason == "halted" and not recorded.row.halts:
            yield "the row was ended because the audit log could not be written, which is not done again"
        return
    for late in recorded.row.late:
        yield f"the classifier {late.classifier} was late at steps {late.step} to {late.until}; not now"
    for broken in recorded.row.broken:
        yield f"the classifier {broken.classifier} failed at step {broken.step}: {broken.error}"
    yield from _switched(recorded)


def _surroundings(then: Attached, now: Surroundings) -> Iterator[str]:
    for name in _COMPUTING:
        was, is_now = then.versions.get(name, ""), now.versions.get(name, "")
        if was != is_now:
            yield f"{name} was {was or 'absent'}, is {is_now or 'absent'}"
    for name in sorted(then.kernels.keys() | now.kernels.keys()):
        was, is_now = then.kernels.get(name, ""), now.kernels.get(name, "")
        if was != is_now:
            yield f"the {name} was {was or 'unknown'}, is {is_now or 'unknown'}"
    if "cuda" in now.device and now.kernels.get("algorithms") != "deterministic":
        yield "on a GPU some kernels sum in no fixed order unless torch.use_deterministic_algorithms is on"
    for what, was, is_now in (
        ("the device", then.device, now.device),
        ("the kind of attention", then.attention, now.attention),
        ("the number of threads", str(then.threads), str(now.threads)),
    ):
        if was != is_now:
            yield f"{what} was {was or 'unknown'}, is {is_now or 'unknown'}"


def _company(recorded: Recorded, company: Company) -> Iterator[str]:
    rows = recorded.started.rows
    if company == "stand-ins":
        yield (
            f"the row was one of {rows}; the prompts of the others are not at hand, and rows of the "
            "same lengths stood in for them"
        )
    elif company == "alone":
        drawn = ", and what is drawn for a row depends on its place" if recorded.samples else ""
        yield f"the row was one of {rows} and was replayed alone: shapes differ, so rounding may{drawn}"


def _switched(recorded: Recorded) -> Iterator[str]:
    """Yield when the kill switch was thrown or taken back while the row was written."""
    for each in recorded.stops:
        if recorded.row.first_ns <= each.time_ns <= recorded.row.last_ns:
            what = "thrown" if isinstance(each, Stopped) else "taken back"
            yield f"the kill switch was {what} during the request, by {each.by}"


def stopped_throughout(recorded: Recorded) -> bool:
    """Tell whether the kill switch was on from before the row began."""
    causes: set[str] = set()
    for each in recorded.stops:
        if each.time_ns >= recorded.row.first_ns:
            break
        if isinstance(each, Resumed):
            causes.discard(each.by)
        else:
            causes.add(each.by)
    return bool(causes)
