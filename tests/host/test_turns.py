"""The turns of a chat are located in its tokens under every style of template, or it is an error."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from guardsteer.errors import TurnsError
from guardsteer.host.turns import RenderedChat, Turn, render_chat
from tests.host.chat_tokenizer import MANGLING, TEMPLATES, chat_tokenizer

_BASE = chat_tokenizer()
_CHAT = (
    {"role": "system", "content": "  You are a helpful assistant. "},
    {"role": "user", "content": "Hello, 你好 🙂\n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello! 你好 🙂 "},
    {"role": "user", "content": "Can you say Hello! 你好 🙂 again?"},
    {"role": "assistant", "content": "Second answer."},
    {"role": "user", "content": "bye"},
)


def _tokenizer(template: str) -> Any:
    tokenizer = copy.deepcopy(_BASE)
    tokenizer.chat_template = template
    return tokenizer


def _texts(tokenizer: Any, chat: RenderedChat) -> list[tuple[str, str]]:
    return [(turn.role, tokenizer.decode(chat.input_ids[turn.first : turn.end])) for turn in chat.turns]


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_turn_is_located_under_every_template(name: str, prompt: bool) -> None:
    """The ids are those of ``apply_chat_template``, and each turn's tokens say what the turn says."""
    tokenizer = _tokenizer(TEMPLATES[name])
    chat = render_chat(tokenizer, _CHAT, add_generation_prompt=prompt)
    expected = tokenizer.apply_chat_template(_CHAT, add_generation_prompt=prompt)["input_ids"]
    assert chat.input_ids == expected
    assert chat.text == tokenizer.apply_chat_template(_CHAT, tokenize=False, add_generation_prompt=prompt)
    found = _texts(tokenizer, chat)
    assert [role for role, _ in found] == [message["role"] for message in _CHAT]
    for (role, text), message in zip(found, _CHAT, strict=True):
        content = message["content"].strip()
        if name == "thoughts taken out of earlier turns" and role == "assistant":
            content = content.rpartition("</think>")[2].strip()
        content = content.upper() if name == "upper case" else content
        content = content.replace("\n", "\\n") if name == "json" else content
        endings = ["<|im_end|>", "</s>\n"] if name.startswith("marked") and role == "assistant" else []
        for ending in endings:
            text = text.removesuffix(ending)
        assert text.strip(' "') == content


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(set(TEMPLATES) - {"upper case", "json"})),
    contents=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
            lambda text: text.strip() and "<" not in text
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_turns_hold_their_contents_whatever_they_are(name: str, contents: list[str]) -> None:
    """In any script, with any control or private-use character."""
    tokenizer = _tokenizer(TEMPLATES[name])
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    chat = render_chat(tokenizer, messages)
    assert chat.input_ids == tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert [turn.role for turn in chat.turns] == [message["role"] for message in messages]
    last = 0
    for turn, content in zip(chat.turns, contents, strict=True):
        assert last <= turn.first < turn.end
        last = turn.end
        assert content.strip() in tokenizer.decode(chat.input_ids[turn.first : turn.end])


def test_a_content_that_occurs_elsewhere_is_not_confused() -> None:
    """A reply that repeats the question, or the template's own words, has its own tokens."""
    tokenizer = _tokenizer(TEMPLATES["chatml"])
    messages = [
        {"role": "user", "content": "assistant"},
        {"role": "assistant", "content": "assistant"},
        {"role": "user", "content": "assistant"},
    ]
    chat = render_chat(tokenizer, messages)
    assert [text for _, text in _texts(tokenizer, chat)] == ["assistant"] * 3
    assert len({turn.first for turn in chat.turns}) == 3


@pytest.mark.parametrize("name", MANGLING)
def test_a_template_that_hides_contents_is_an_error_that_says_what_to_do(name: str) -> None:
    with pytest.raises(TurnsError, match=r"message 0 \(system\).*cannot be located.*generation"):
        render_chat(_tokenizer(MANGLING[name]), _CHAT)


def test_tool_messages_that_cannot_be_located_are_left_out() -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content | reverse if m.role == 'tool' else m.content }}\n"
        "{% endfor %}"
    )
    messages = [{"role": "user", "content": "Hello"}, {"role": "tool", "content": "17 days"}]
    chat = render_chat(_tokenizer(template), messages)
    assert [turn.role for turn in chat.turns] == ["user"]


def test_messages_without_text_or_left_out_by_the_template_have_no_turn() -> None:
    template = (
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endif %}"
        "{% endfor %}"
    )
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "  "},
        {"role": "assistant", "content": "Hello"},
    ]
    assert [turn.role for turn in render_chat(_tokenizer(template), messages).turns] == ["assistant"]


def test_contents_in_parts_are_located() -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {% for part in m.content %}{{ part.text }}{% endfor %}\n"
        "{% endfor %}"
    )
    tokenizer = _tokenizer(template)
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}]
    chat = render_chat(tokenizer, messages)
    assert [text.strip() for _, text in _texts(tokenizer, chat)] == ["Hello there"]
    assert messages == [{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}]


def test_marks_that_enclose_nothing_are_an_error_and_never_silence() -> None:
    """transformers answers with a mask of zeros."""
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% generation %}{% endgeneration %}\n"
        "{% endfor %}"
    )
    with pytest.raises(TurnsError, match="encloses nothing of the 2 assistant turns"):
        render_chat(_tokenizer(template), _CHAT)


def test_a_marked_turn_without_text_has_no_turn() -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}"
    )
    empty = {"role": "assistant", "content": ""}
    chat = render_chat(_tokenizer(template), [*_CHAT[1:3], empty, _CHAT[4]])
    assert [turn.role for turn in chat.turns] == ["user", "assistant", "assistant"]


def test_marks_that_do_not_tell_the_turns_apart_give_way_to_contents() -> None:
    """Two marked pieces in each turn: which belongs to which is not known, but the contents are."""
    template = (
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}, {% generation %}</s>{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n"
        "{% endfor %}"
    )
    tokenizer = _tokenizer(template)
    found = _texts(tokenizer, render_chat(tokenizer, _CHAT))
    assert found[4][1].strip() == "Second answer."


def test_a_marked_turn_that_ends_in_a_character_without_a_token_ends_there() -> None:
    """transformers' own mask then runs to the end of the chat."""
    tokenizer = _tokenizer(TEMPLATES["marked"].replace("m.content + '<|im_end|>'", "m.content + '\u200b'"))
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    messages = [*_CHAT[1:2], {"role": "assistant", "content": "Second answer."}, *_CHAT[5:]]
    chat = render_chat(tokenizer, messages)
    assert _texts(tokenizer, chat)[1] == ("assistant", "Second answer.")
    mask = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    assert sum(mask["assistant_masks"]) > chat.turns[1].end - chat.turns[1].first


@pytest.mark.parametrize("trim_offsets", [True, False])
def test_a_token_that_joins_the_space_before_a_content_belongs_to_the_turn(trim_offsets: bool) -> None:
    tokenizer = chat_tokenizer("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
                               trim_offsets=trim_offsets)  # fmt: skip
    chat = render_chat(tokenizer, [{"role": "user", "content": "Hello there"}])
    assert _texts(tokenizer, chat)[0][1].strip() == "Hello there"


def test_a_content_that_the_tokenizer_drops_is_an_error() -> None:
    tokenizer = _tokenizer(TEMPLATES["chatml"])
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("gone", "")
    with pytest.raises(TurnsError, match=r"message 0 \(user\): the tokenizer makes no token"):
        render_chat(tokenizer, [{"role": "user", "content": "gone"}])


def test_no_template_is_an_error() -> None:
    with pytest.raises(TurnsError, match="cannot render these 1 messages"):
        render_chat(_BASE, [{"role": "user", "content": "Hello"}])


def test_a_template_that_refuses_a_chat_is_an_error_with_its_reason() -> None:
    tokenizer = _tokenizer("{{ raise_exception('System role not supported') }}")
    with pytest.raises(TurnsError, match="System role not supported"):
        render_chat(tokenizer, _CHAT)


@pytest.mark.parametrize("message", ["Hello", {"content": "Hello"}, None])
def test_what_is_no_message_is_an_error_with_its_place(message: Any) -> None:
    with pytest.raises(TurnsError, match="message 1: expected a mapping with role and content"):
        render_chat(_tokenizer(TEMPLATES["chatml"]), [{"role": "user", "content": "Hello"}, message])


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

        def apply_chat_template(self, messages: Any, **_kwargs: Any) -> str:
            return str(messages[0]["content"])

    with pytest.raises(TurnsError, match="Slow does not say where"):
        render_chat(Slow(), [{"role": "user", "content": "Hello"}])


def test_a_template_and_its_arguments_can_be_given() -> None:
    tokenizer = _tokenizer(TEMPLATES["chatml"])
    template = "{% for m in messages %}{{ prefix }}{{ m.content }}{% endfor %}"
    messages = [{"role": "user", "content": "Hello"}]
    chat = render_chat(tokenizer, messages, chat_template=template, prefix=">> ")
    assert chat.text == ">> Hello"
    assert chat.turns[0].role == "user"
    assert chat.turns == (Turn("user", chat.turns[0].first, len(chat.input_ids)),)


def test_the_last_message_can_be_continued() -> None:
    tokenizer = _tokenizer(TEMPLATES["chatml"])
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Of course"}]
    chat = render_chat(tokenizer, messages, add_generation_prompt=False, continue_final_message=True)
    assert chat.turns[-1].end == len(chat.input_ids)
