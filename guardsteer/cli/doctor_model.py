"""The part of ``doctor`` that loads a model: can it be guarded, and what would a guard find?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from guardsteer.cli.checks import Check
from guardsteer.cli.models import load_model
from guardsteer.errors import GuardsteerError, HostError

__all__ = ["check_model_folder"]


def check_model_folder(path: Path) -> Iterator[Check]:
    """Yield one check for each thing that a guard needs of the model; stop where no more can be said."""
    try:
        model, tokenizer = load_model(path)
    except HostError as error:
        yield Check("model", False, str(error))
        return
    yield Check("model", True, f"{type(model).__name__}, {model.num_parameters():,} weights, {model.dtype}")
    for name, look in (
        ("generation", _generation),
        ("blocks", _blocks),
        ("steering", _steering),
        ("fingerprint", _fingerprint),
        ("chat", _chat),
    ):
        check = _attempt(name, look, model, tokenizer)
        yield check
        if not check.ok:
            return


def _attempt(name: str, look: Callable[[Any, Any], str], model: Any, tokenizer: Any) -> Check:
    try:
        return Check(name, True, look(model, tokenizer))
    except GuardsteerError as error:
        return Check(name, False, str(error))


def _generation(model: Any, _tokenizer: Any) -> str:
    from guardsteer.host import check_model

    check_model(model)
    return "can be guarded"


def _blocks(model: Any, _tokenizer: Any) -> str:
    from guardsteer.host import find_layout

    layout = find_layout(model)
    return f"{len(layout.blocks)} at {layout.block_path}, width {layout.width}"


def _steering(model: Any, _tokenizer: Any) -> str:
    from guardsteer.host import check_steering, find_layout

    layout = find_layout(model)
    check_steering(model, layout, tuple(range(len(layout.blocks))))
    return "a push at each block reaches the logits, and none remains afterwards"


def _fingerprint(model: Any, tokenizer: Any) -> str:
    from guardsteer.host import fingerprint

    return fingerprint(model, tokenizer).digest


def _chat(_model: Any, tokenizer: Any) -> str:
    if not getattr(tokenizer, "chat_template", None):
        return "no chat template; policies that read or steer turns cannot be used"
    from guardsteer.host import render_chat

    messages = [
        {"role": "user", "content": "Hello, my parcel is late."},
        {"role": "assistant", "content": "Let me look for it."},
        {"role": "user", "content": "Thank you."},
    ]
    render_chat(tokenizer, messages)
    return "chat template found; turns can be located"
