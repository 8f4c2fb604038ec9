"""Two prompts that differ in a cue alone are aligned so that a state can go from one to the other."""

from __future__ import annotations

import pytest

from guardsteer.errors import VectorError
from guardsteer.lab.pairs.contrast import ContrastPair, Side
from guardsteer.lab.where.pairs import GENERATED, SIDES, Couple, couples, cue_of
from tests.lab.chats import chat_tokenizer, pairs

TOKENIZER = chat_tokenizer()
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def _told(couple: Couple, name: str, side: int, reply: int = 0) -> str:
    ids = [*couple.prompts[side], *couple.replies[reply]]
    return str(TOKENIZER.decode([ids[place] for place in couple.positions(name, reply)[side]]))


def _without_cue(count: int = 9) -> tuple[ContrastPair, ...]:
    return tuple(
        ContrastPair(pair.id, pair.messages, Side(pair.positive.reply), Side(pair.negative.reply))
        for pair in pairs(count)
    )


def test_the_segments_of_a_system_cue_are_what_their_names_say() -> None:
    found, left_out = couples(TOKENIZER, pairs(9), "system")
    assert len(found) == 9
    assert not left_out
    couple = next(each for each in found if each.id == "pair-3")
    assert _told(couple, "cue", 0) == "Be kind."
    assert _told(couple, "cue", 1) == "nd cold."
    for side in SIDES:
        assert _told(couple, "user message", side).startswith("<user>Number 3: what about tea")
        assert _told(couple, "last prompt token", side) == "<assistant>"
        assert _told(couple, GENERATED, side, 0).startswith("How nice, tea")
        assert _told(couple, GENERATED, side, 1).startswith("Noted: tea")
        assert _told(couple, GENERATED, side, 1).endswith("<eos>")
    assert all(len(set(map(len, segment.positions))) == 1 for segment in couple.segments)
    assert "template tail" not in {segment.name for segment in couple.segments}


def test_no_position_of_a_prompt_after_the_cue_is_left_out_or_told_twice() -> None:
    for couple in couples(TOKENIZER, pairs(9), "system")[0]:
        for side in SIDES:
            told = [place for segment in couple.segments for place in segment.positions[side]]
            end = len(couple.prompts[side])
            assert told == list(range(told[0], end))


def test_without_system_lines_the_cue_is_an_earlier_reply_of_another_pair() -> None:
    made = _without_cue()
    assert cue_of(made) == "history"
    assert cue_of(pairs(9)) == "system"
    found, _ = couples(TOKENIZER, made, "history")
    by_reply = {pair.positive.reply: pair for pair in made}
    cues = [_told(couple, "cue", 0).removesuffix("<eos>") for couple in found]
    assert set(cues) == set(by_reply)
    for couple, cue in zip(found, cues, strict=True):
        other = by_reply[cue]
        assert other.id != couple.id
        assert _told(couple, "cue", 1).removesuffix("<eos>") in str(other.negative.reply)
        own = next(pair for pair in made if pair.id == couple.id)
        assert _told(couple, "user message", 1) == "<user>" + own.messages[0]["content"]


def test_a_system_line_of_the_second_conversation_is_not_put_in_its_middle() -> None:
    made = tuple(
        ContrastPair(
            pair.id, ({"role": "system", "content": "Rules."}, *pair.messages), pair.positive, pair.negative
        )
        for pair in _without_cue()
    )
    couple = couples(TOKENIZER, made, "history")[0][0]
    text = TOKENIZER.decode(list(couple.prompts[0]))
    assert text.count("<system>") == 1
    assert _told(couple, "cue", 0).startswith("How nice")


def test_the_last_tokens_are_told_apart_as_far_as_both_prompts_agree() -> None:
    couple = couples(TOKENIZER, pairs(9), "system", last=500)[0][0]
    singles = [segment for segment in couple.segments if segment.name.startswith("-")]
    assert singles[-1].name == "-2"
    assert _told(couple, "-2", 0) == "?"
    first = singles[0].positions
    assert couple.prompts[0][first[0][0] :] == couple.prompts[1][first[1][0] :]
    assert couple.prompts[0][first[0][0] - 1] != couple.prompts[1][first[1][0] - 1]


def test_pairs_that_cannot_be_compared_are_left_out_or_refused_with_the_reason() -> None:
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = DROPS_SYSTEM
    found, left_out = couples(tokenizer, pairs(9), "system")
    assert not found
    assert all("leaves the cue out" in reason for reason in left_out)
    found, left_out = couples(TOKENIZER, pairs(9), "system", longest=70)
    assert 0 < len(found) < 9
    assert len(found) + len(left_out) == 9
    assert "the model takes 70" in left_out[0]
    with pytest.raises(VectorError, match="use cue 'history'"):
        couples(TOKENIZER, _without_cue(), "system")
    bare = ContrastPair("a", pairs(1)[0].messages, Side(system="x"), Side(system="y"))
    with pytest.raises(VectorError, match="its sides have none"):
        couples(TOKENIZER, [bare], "system")
    same = ContrastPair("a", pairs(1)[0].messages, Side("r", "x"), Side("r", "y"))
    with pytest.raises(VectorError, match="nothing to compare"):
        couples(TOKENIZER, [same], "system")
    tokenizer.chat_template = "{{ messages|length }}" + DROPS_SYSTEM
    with pytest.raises(VectorError, match="is not the beginning of the chat"):
        couples(tokenizer, pairs(9), "system")
