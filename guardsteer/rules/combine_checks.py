"""What is wrong with scores made of other scores."""

from __future__ import annotations

from collections.abc import Mapping

from guardsteer.rules.access import child_of, entries_of, many_of, text_of
from guardsteer.rules.document import MappingNode
from guardsteer.rules.flag_checks import check_signal
from guardsteer.rules.places import Report, shown

__all__ = ["COMBINED_OUTPUTS", "check_combined", "check_combines"]

COMBINED_OUTPUTS = ("score",)

_READS = ("on", "use", "literals", "patterns", "ignore_case", "tail_characters", "read", "encoder")
_FAILS = ("on_error", "deadline_ms", "breaker")


def check_combined(report: Report, node: MappingNode) -> None:
    """Add to ``report`` what does not go with ``combine`` in a classifier's entry."""
    for key in (*_READS, *_FAILS):
        if key in node.entries:
            hint = "remove it, or give it to the classifiers that are combined"
            report.add(
                node.entries[key].start, f"{shown(key)} says nothing of scores that are combined", hint
            )


def check_combines(report: Report, root: MappingNode, outputs: Mapping[str, tuple[str, ...] | None]) -> None:
    """Add to ``report`` what is wrong with the scores that each ``combine`` below ``root`` is made of."""
    entries = entries_of(root, "classifiers")
    combined = {name for name, entry in entries.items() if child_of(entry.node, "combine") is not None}
    for name in combined:
        seen: set[str] = set()
        for signal in map(text_of, many_of(child_of(child_of(entries[name].node, "combine") or root, "of"))):
            if signal is None:
                continue
            check_signal(report, signal, outputs)
            if signal.text in seen:
                report.add(signal.start, f"{shown(signal.text)} is combined with itself", "name it once")
            seen.add(signal.text)
            member = signal.text.partition(".")[0]
            if member in combined:
                message = f"{shown(member)} is combined itself, and scores are combined once"
                report.add(signal.start, message, "name the scores that it is made of")
