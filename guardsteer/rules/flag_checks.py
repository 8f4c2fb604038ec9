"""What is wrong with flags beyond their shape: signals, thresholds, windows."""

from __future__ import annotations

import re
from collections.abc import Mapping

from guardsteer.rules.access import child_of, entries_of, number_of, start_within, text_of
from guardsteer.rules.document import Entry, MappingNode, ScalarNode
from guardsteer.rules.names import Names, signal_mistake
from guardsteer.rules.naming import check_name
from guardsteer.rules.places import Report, shown

__all__ = ["check_flags", "check_signal"]

_SIGNAL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")


def check_flags(report: Report, root: MappingNode, names: Names) -> None:
    """Add to ``report`` what is wrong with the flags of the policy below ``root``."""
    for name, entry in entries_of(root, "flags").items():
        if report.full:
            return
        check_name(report, name, entry.start, "flag")
        signal = text_of(child_of(entry.node, "signal"))
        if signal is not None:
            check_signal(report, signal, names.outputs)
        enter, leave = number_of(child_of(entry.node, "enter")), child_of(entry.node, "exit")
        value = number_of(leave)
        if enter is not None and value is not None and leave is not None and value > enter >= 0:
            message = f"'exit' must be at most 'enter', got {value:g} > {enter:g}"
            report.add(leave.start, message, "a flag goes up at 'enter' and down below 'exit'")
        _check_window(report, entry)
        _check_smoothing(report, entry)


def _check_window(report: Report, entry: Entry) -> None:
    window = child_of(entry.node, "of_last")
    after, last = number_of(child_of(entry.node, "after")), number_of(window)
    if window is not None and after is not None and last is not None and after > last > 0:
        message = f"'of_last' must be at least 'after', got {last:g} < {after:g}"
        report.add(window.start, message, "a flag goes up at 'after' of the 'of_last' newest scores")


def _check_smoothing(report: Report, entry: Entry) -> None:
    smooth = child_of(entry.node, "smooth")
    if not isinstance(smooth, MappingNode):
        return
    if not smooth.entries:
        report.add(smooth.start, "how to smooth is missing", "give 'ema' or 'max'")
    if len(smooth.entries) > 1 and smooth.entries.keys() <= {"ema", "max"}:
        second = max(entry.start for entry in smooth.entries.values())
        report.add(second, "both 'ema' and 'max' are given", "keep one")


def check_signal(report: Report, node: ScalarNode, outputs: Mapping[str, tuple[str, ...] | None]) -> None:
    """Add to ``report`` what keeps ``node`` from naming a score."""
    match = _SIGNAL.fullmatch(node.text)
    if match is None:
        known = outputs.get(node.text)
        hint = f"write {node.text}.{known[0]}" if known else "write classifier.output"
        report.add(node.start, f"a signal is written classifier.output, got {shown(node.text)}", hint)
        return
    mistake = signal_mistake(match[1], match[2], outputs)
    if mistake is not None:
        report.add(start_within(report, node, 0), *mistake)
