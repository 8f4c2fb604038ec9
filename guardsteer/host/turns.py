"""Which tokens of a chat are whose: the turns of a chat, located in its tokens."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
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
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or "role" not in message:
            raise TurnsError(
                f"message {index}: expected a mapping with role and content, got {message!r:.80}"
            )
    try:
        text = template.render(messages)
    except Exception as error:
        raise TurnsError(
            f"the chat template cannot render these {len(messages)} messages: {error}"
        ) from error
    input_ids, offsets = _encode(tokenizer, text)
    spans = {**_spans_at_once(template, messages, text), **_generated_spans(template, messages, text)}
    starts, ends = [first for first, _ in offsets], [end for _, end in offsets]
    turns = []
    for index, message in enumerate(messages):
        span = spans[index] if index in spans else _content_span(template, messages, index, text)
        if span is not None:
            first, end = _token_range(starts, ends, span, f"message {index} ({message['role']})")
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


def _token_range(
    starts: Sequence[int], ends: Sequence[int], span: tuple[int, int], what: str
) -> tuple[int, int]:
    """Return the tokens that share a character with ``span``; one may reach beyond it on either side."""
    first, end = bisect_right(ends, span[0]), bisect_left(starts, span[1])
    if first >= end:
        raise TurnsError(f"{what}: the tokenizer makes no token of its text. {_MEND}.")
    return first, end


def _marks(text: str, count: int) -> list[str]:
    """Return characters that ``text`` does not hold; fewer than ``count`` where there are not enough."""
    taken = set(text)
    return list(islice((chr(code) for code in _PRIVATE_USE if chr(code) not in taken), count))


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
    opening, closing = _marks(text + source, 2)

    def tag(match: re.Match[str]) -> str:
        before, is_end, after = match.groups()
        # Block tags on both sides keep the white space that the environment trims around blocks.
        return f'{{%{before} if true %}}{{{{ "{closing if is_end else opening}" }}}}{{% endif {after}%}}'

    try:
        marked = template.render(messages, chat_template=_GENERATION.sub(tag, source))
    except Exception:  # tags in a place where no other block may stand: contents will do
        return {}
    if marked.replace(opening, "").replace(closing, "") != text:
        return {}
    places = _places(marked, (opening, closing))
    spans = list(zip(places[opening], places[closing], strict=False))
    if not any(end > first for first, end in spans):
        raise TurnsError(
            f"the template has {{% generation %}}, but it encloses nothing of the {len(assistants)} "
            "assistant turns of this chat. Put the tags around what the model writes"
        )
    if not len(spans) == len(places[closing]) == len(assistants):
        return {}
    return {index: span for index, span in zip(assistants, spans, strict=True) if span[0] < span[1]}


def _places(render: str, marks: Sequence[str]) -> dict[str, list[int]]:
    """Return where each mark stands in ``render``, the marks themselves not counted."""
    places: dict[str, list[int]] = {mark: [] for mark in marks}
    removed = 0
    for place, character in enumerate(render):
        if character in places:
            places[character].append(place - removed)
            removed += 1
    return places


def _span(places: Mapping[str, Sequence[int]], opening: str, closing: str) -> tuple[int, int] | None:
    if not len(places[opening]) == len(places[closing]) == 1:
        return None
    first, end = places[opening][0], places[closing][0]
    return (first, end) if first <= end else None


def _spans_at_once(
    template: _Template, messages: Sequence[Mapping[str, Any]], text: str
) -> dict[int, tuple[int, int]]:
    """Return the spans of all contents that one render with all of them marked can locate."""
    contents = {
        index: content for index, message in enumerate(messages) if (content := _text_of(message)).strip()
    }
    marks = _marks("".join([text, *contents.values()]), 2 * len(contents))
    if len(marks) < 2 * len(contents):
        return {}
    pairs = dict(zip(contents, zip(marks[::2], marks[1::2], strict=True), strict=True))
    changed = list(messages)
    for index, (opening, closing) in pairs.items():
        content = contents[index]
        first, end = next(_cores(content))
        marked = "".join((content[:first], opening, content[first:end], closing, content[end:]))
        changed[index] = _with_text(messages[index], marked)
    try:
        render = template.render(changed)
    except Exception:  # one content at a time may do
        return {}
    if render.translate(dict.fromkeys(map(ord, marks))) != text:
        return {}
    places = _places(render, marks)
    spans = {index: _span(places, opening, closing) for index, (opening, closing) in pairs.items()}
    return {index: span for index, span in spans.items() if span is not None}


def _content_span(
    template: _Template, messages: Sequence[Mapping[str, Any]], index: int, text: str
) -> tuple[int, int] | None:
    """Return where in ``text`` the content of one message is, None where it is not there to be found."""
    message = messages[index]
    content = _text_of(message)
    if not content.strip():
        return None
    opening, closing = _marks(text + content, 2)

    def rendered(first: int, end: int, inside: str) -> str:
        changed = "".join((content[:first], opening, inside, closing, content[end:]))
        try:
            return template.render([*messages[:index], _with_text(message, changed), *messages[index + 1 :]])
        except Exception:  # a template may refuse what it does not know; the marks did not come through
            return ""

    def marked(first: int, end: int) -> tuple[int, int] | None:
        render = rendered(first, end, content[first:end])
        if render.replace(opening, "").replace(closing, "") != text:
            return None
        return _span(_places(render, (opening, closing)), opening, closing)

    for first, end in _cores(content):
        if (span := marked(first, end)) is not None:
            return span
    span = _around_middle(content, text, marked)
    role = str(message.get("role"))
    if span is not None or role not in _LOCATED_ROLES or rendered(0, len(content), "") == text:
        return span
    raise TurnsError(
        f"message {index} ({role}): its content cannot be located, since the chat template changes, repeats "
        f"or inspects it. {_MEND}."
    )


def _cores(content: str) -> Iterator[tuple[int, int]]:
    """Yield what to put marks around: the content without white space, then what follows its thoughts."""
    first = len(content) - len(content.lstrip())
    end = len(content.rstrip())
    yield first, end
    if _THOUGHT_END in content[:end]:
        after = content.rindex(_THOUGHT_END) + len(_THOUGHT_END)
        after += len(content[after:]) - len(content[after:].lstrip())
        if after < end:
            yield after, end


def _around_middle(
    content: str, text: str, marked: Callable[[int, int], tuple[int, int] | None]
) -> tuple[int, int] | None:
    """Locate a content by a mark in its middle, for templates that look at how it begins or ends."""
    first, end = next(_cores(content))
    middle = (first + end) // 2
    if (span := marked(middle, middle)) is None:
        return None
    start = span[0] - (middle - first)
    stop = start + end - first
    return (start, stop) if text[max(start, 0) : stop] == content[first:end] else None


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
