"""Which tokens of a chat are whose: the turns of a chat, located in its tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardsteer.errors import TurnsError

__all__ = ["RenderedChat", "Turn", "render_chat"]

_GENERATION = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")
_PRIVATE_USE = range(0xE000, 0xF900)
_THOUGHT_END = "</think>"
# Roles whose turns a policy may read or steer; a message of another role (a tool's) may go unlocated.
_LOCATED_ROLES = frozenset({"system", "user", "assistant"})
_MEND = (
    "Mark what the model writes with {% generation %} in the template, use a template that writes contents "
    "as they are, or leave out policies that read or steer turns"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message's content in the tokens of a chat: ``first`` included, ``end`` not."""

    role: str
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A chat as the model reads it: token ids, the text they were made from, and its turns in order."""

    input_ids: list[int]
    text: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class _Template:
    tokenizer: Any
    kwargs: Mapping[str, Any]

    def render(self, messages: Sequence[Mapping[str, Any]], **kwargs: Any) -> str:
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, **{**self.kwargs, **kwargs})
        return text


def render_chat(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    add_generation_prompt: bool = True,
    **template_kwargs: Any,
) -> RenderedChat:
    """Return the tokens of a chat, the same as ``tokenizer.apply_chat_template``'s, and whose they are.

    An assistant's turn is what ``{% generation %}`` encloses where the template has it (often with the
    token that ends the turn), else, as for all other roles, the message's content without the white space
    around it. It is found by rendering the chat again with private-use characters around the content, which
    counts only if the render is otherwise the same. A message without text, or that the template leaves out,
    has no turn; nor has a tool's message that cannot be located.
    Raises ``TurnsError`` where there is no template or it refuses the chat, or where a turn of the system,
    a user or the assistant cannot be located.
    """
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    template = _Template(tokenizer, {"add_generation_prompt": add_generation_prompt, **template_kwargs})
    try:
        text = template.render(messages)
    except Exception as error:
        raise TurnsError(
            f"the chat template cannot render these {len(messages)} messages: {error}"
        ) from error
    input_ids, offsets = _encode(tokenizer, text)
    generated = _generated_spans(template, messages, text)
    turns = []
    for index, message in enumerate(messages):
        span = generated[index] if index in generated else _content_span(template, messages, index, text)
        if span is not None:
            first, end = _token_range(offsets, span, f"message {index} ({message['role']})")
            turns.append(Turn(str(message["role"]), first, end))
    return RenderedChat(input_ids, text, tuple(turns))


def _encode(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    if not getattr(tokenizer, "is_fast", False):
        raise TurnsError(
            f"{type(tokenizer).__name__} does not say where in the text its tokens come from, so turns "
            "cannot be located. Load the fast tokenizer of this model (AutoTokenizer, use_fast=True)"
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]


def _token_range(offsets: Sequence[tuple[int, int]], span: tuple[int, int], what: str) -> tuple[int, int]:
    touched = [i for i, (first, end) in enumerate(offsets) if max(first, span[0]) < min(end, span[1])]
    if not touched:
        raise TurnsError(f"{what}: the tokenizer makes no token of its text. {_MEND}.")
    return touched[0], touched[-1] + 1


def _marks(text: str) -> tuple[str, str]:
    unused = (chr(code) for code in _PRIVATE_USE if chr(code) not in text)
    return next(unused), next(unused)


def _generated_spans(
    template: _Template, messages: Sequence[Mapping[str, Any]], text: str
) -> dict[int, tuple[int, int]]:
    """Return what ``{% generation %}`` encloses, for each assistant message; nothing where it does not tell.

    The tags are replaced by marks, since transformers' own token mask runs to the end of the chat where
    a span ends in a character that has no token.
    """
    assistants = [index for index, message in enumerate(messages) if message.get("role") == "assistant"]
    source = template.tokenizer.get_chat_template(
        template.kwargs.get("chat_template"), template.kwargs.get("tools")
    )
    if not assistants or not _GENERATION.search(source):
        return {}
    opening, closing = _marks(text + source)

    def tag(match: re.Match[str]) -> str:
        before, is_end, after = match.groups()
        # Block tags on both sides keep the white space that the environment trims around blocks.
        return f'{{%{before} if true %}}{{{{ "{closing if is_end else opening}" }}}}{{% endif {after}%}}'

    marked = template.render(messages, chat_template=_GENERATION.sub(tag, source))
    if marked.replace(opening, "").replace(closing, "") != text:
        return {}
    spans = list(_marked_spans(marked, opening, closing))
    if not any(end > first for first, end in spans):
        raise TurnsError(
            f"the template has {{% generation %}}, but it encloses nothing of the {len(assistants)} "
            "assistant turns of this chat. Put the tags around what the model writes"
        )
    return dict(zip(assistants, spans, strict=True)) if len(spans) == len(assistants) else {}


def _marked_spans(marked: str, opening: str, closing: str) -> Iterator[tuple[int, int]]:
    removed = 0
    first = None
    for place, character in enumerate(marked):
        if character == opening:
            first = place - removed
        elif character == closing and first is not None:
            yield first, place - removed
            first = None
        removed += character in (opening, closing)


def _content_span(
    template: _Template, messages: Sequence[Mapping[str, Any]], index: int, text: str
) -> tuple[int, int] | None:
    """Return where in ``text`` the content of one message is, None where it is not there to be found."""
    message = messages[index]
    content = _text_of(message)
    if not content.strip():
        return None
    opening, closing = _marks(text + content)
    left_out = False
    for first, end, inset in _cores(content):
        marked_content = "".join((content[:first], opening, content[first:end], closing, content[end:]))
        changed = [*messages[:index], _with_text(message, marked_content), *messages[index + 1 :]]
        marked = _same_render(template, changed, opening + closing, text)
        if marked is None:
            continue
        spans = list(_marked_spans(marked, opening, closing))
        if len(spans) == 1 and marked.count(opening) == marked.count(closing) == 1:
            return spans[0][0] - inset, spans[0][1] + inset
        left_out = left_out or (opening not in marked and closing not in marked)
    role = str(message.get("role"))
    if left_out or role not in _LOCATED_ROLES:
        return None
    raise TurnsError(
        f"message {index} ({role}): its content cannot be located, since the chat template changes, repeats "
        f"or inspects it. {_MEND}."
    )


def _same_render(
    template: _Template, changed: Sequence[Mapping[str, Any]], marks: str, text: str
) -> str | None:
    """Return the render of a chat with marks in it, None where it differs from ``text`` otherwise too."""
    try:
        marked = template.render(changed)
    except Exception:  # a template may refuse what it does not know; that is one more difference
        return None
    return marked if marked.replace(marks[0], "").replace(marks[1], "") == text else None


def _cores(content: str) -> Iterator[tuple[int, int, int]]:
    """Yield where marks may go, and how far inside the content: around it, after its thoughts, inside it."""
    first = len(content) - len(content.lstrip())
    end = len(content.rstrip())
    yield first, end, 0
    if _THOUGHT_END in content[:end]:
        after = content.rindex(_THOUGHT_END) + len(_THOUGHT_END)
        after += len(content[after:]) - len(content[after:].lstrip())
        if after < end:
            yield after, end, 0
    if end - first > 2:
        # For templates that look at how a content begins or ends.
        yield first + 1, end - 1, 1


def _text_of(message: Mapping[str, Any]) -> str:
    """Return a message's text; contents in parts have one where a single part is text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = [part["text"] for part in content or () if isinstance(part, Mapping) and "text" in part]
    return parts[0] if len(parts) == 1 else "".join(parts)


def _with_text(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": text}
    return {**message, "content": [{**part, "text": text} if "text" in part else part for part in content]}
