"""``guardsteer demo``: three tickets, unguarded and guarded side by side, then their verified audit trail."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.demo.showing import Shown, Token

__all__ = ["register", "run"]

_RESET, _BOLD, _GREY = "\x1b[0m", "\x1b[1m", "\x1b[90m"
_COLORS = {"+": "\x1b[32m", "-": "\x1b[35m"}
_NARROWEST = 30
_GAP = "  │  "


def register(subparsers: frame.Subparsers) -> None:
    """Add ``demo``."""
    parser = frame.add_command(
        subparsers,
        "demo",
        "show guarded and unguarded answers of the built-in model side by side",
        "guardsteer demo --audit audit/",
    )
    parser.add_argument("--audit", type=Path, metavar="DIR", help="keep the audit log below DIR")


def run(args: argparse.Namespace) -> int:
    """Show the demo; 1 where the log does not verify."""
    with tempfile.TemporaryDirectory() as scratch:
        return _run(args.audit or Path(scratch) / "audit", kept=args.audit is not None, as_json=args.json)


def _run(audit: Path, *, kept: bool, as_json: bool) -> int:
    import torch
    from transformers.utils import logging

    from guardsteer.audit import verify
    from guardsteer.demo import load_model
    from guardsteer.demo.showing import show

    logging.disable_progress_bar()
    # A second thread only costs on a model this small.
    torch.set_num_threads(1)
    frame.progress("loading the demo model")
    model, tokenizer = load_model()
    frame.progress("answering three tickets, bare and under guard")
    shown = show(model, tokenizer, policy="demo", audit=audit)
    verified = verify(audit)
    if as_json:
        frame.emit(
            {
                "ok": verified.ok,
                "cases": [_as_json(case) for case in shown],
                "audit": {"directory": str(audit) if kept else None, "records": verified.records},
            }
        )
    else:
        color = frame.use_color()
        for case in shown:
            _print_case(case, color=color)
        _print_trails(shown, color=color)
        state = "verified" if verified.ok else "NOT WHOLE"
        print(f"audit: {state}, {verified.records} records" + (f" in {audit}" if kept else ""))
        for finding in verified.findings:
            print(f"  {finding}", file=sys.stderr)
    return 0 if verified.ok else 1


def _as_json(shown: Shown) -> dict[str, object]:
    return {
        "request": shown.case.request,
        "prompt": shown.case.message,
        "unguarded": shown.unguarded,
        "guarded": "".join(token.text for token in shown.guarded),
        "tokens": [asdict(token) for token in shown.guarded],
        "rules": shown.rules,
        "steered_tokens": shown.steered_tokens,
    }


def _print_case(shown: Shown, *, color: bool) -> None:
    width = max(_NARROWEST, (min(shutil.get_terminal_size().columns, 140) - len(_GAP)) // 2)
    print(_paint(shown.case.title, _BOLD, color))
    for line in textwrap.wrap(f"customer: {shown.case.message}", 2 * width):
        print(_paint(line, _GREY, color))
    left = textwrap.wrap(shown.unguarded, width) or ["(nothing)"]
    right = _wrap_tokens(shown.guarded, width, color=color)
    print(f"{'unguarded':<{width}}{_GAP}guarded")
    for place in range(max(len(left), len(right))):
        before = left[place] if place < len(left) else ""
        after = right[place] if place < len(right) else ""
        print(f"{before:<{width}}{_GAP}{after}".rstrip())
    rules = ", ".join(shown.rules) or "none"
    print(_paint(f"rules fired: {rules}; steered tokens: {shown.steered_tokens}", _GREY, color))
    if any(token.active for token in shown.guarded):
        print(_paint(f"marks: {_legend(shown.guarded)}", _GREY, color))
    print()


def _wrap_tokens(tokens: Sequence[Token], width: int, *, color: bool) -> list[str]:
    """Wrap at word ends; a steered word is coloured, or carries its sign where there are no colours."""
    lines: list[str] = []
    line, length = "", 0
    for word, sign in _words(tokens):
        mark = "" if color else sign
        shown = f"{_COLORS[sign]}{word}{_RESET}" if color and sign else f"{word}{mark}"
        size = len(word) + len(mark)
        if line and length + 1 + size > width:
            lines.append(line)
            line, length = "", 0
        line, length = (f"{line} {shown}", length + 1 + size) if line else (shown, size)
    return [*lines, line] if line else lines or ["(nothing)"]


def _words(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Join tokens to words, each with the sign of what acted while any of its tokens was chosen."""
    words: list[tuple[str, str]] = []
    for token in tokens:
        total = sum(token.active.values())
        sign = "" if not token.active else "+" if total > 0 else "-"
        for place, part in enumerate(token.text.split(" ")):
            if words and place == 0:
                word, before = words[-1]
                words[-1] = (word + part, before or (sign if part else ""))
            else:
                words.append((part, sign))
    return [(word, sign) for word, sign in words if word]


def _legend(tokens: Sequence[Token]) -> str:
    seen: dict[tuple[str, float], int] = {}
    for token in tokens:
        for vector, strength in token.active.items():
            seen[vector, strength] = seen.get((vector, strength), 0) + 1
    return ", ".join(
        f"'{'+' if strength > 0 else '-'}' {vector} at {strength:+.2f} for {count} "
        + ("token" if count == 1 else "tokens")
        for (vector, strength), count in seen.items()
    )


def _print_trails(shown: Sequence[Shown], *, color: bool) -> None:
    from guardsteer.audit import format_trail

    print(_paint("Audit trail of these requests", _BOLD, color))
    print(format_trail([stored for case in shown for stored in case.trail], color=color))


def _paint(text: str, code: str, on: bool) -> str:
    return f"{code}{text}{_RESET}" if on else text
