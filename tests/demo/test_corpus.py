"""The corpus is repeatable, its splits share nothing that is held out, and its labels tell the truth."""

from __future__ import annotations

import random
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.demo.corpus import unsafe, wording
from guardsteer.demo.corpus.facts import KINDS, KINDS_BY_NAME
from guardsteer.demo.corpus.grammar import count_forms, fill, forms, sentence_case, with_article
from guardsteer.demo.corpus.judge import has_flattery, tone_of
from guardsteer.demo.corpus.lookalikes import HELD_OUT_VICTIM_ASKS, LOOKALIKES, VICTIM_ASKS
from guardsteer.demo.corpus.pairs import contrast_pairs
from guardsteer.demo.corpus.tickets import (
    Split,
    Ticket,
    draw_ticket,
    draw_tickets,
    is_held_out,
    is_held_out_pair,
    question_template,
)


def _words(ticket: Ticket) -> set[str]:
    return {
        word for message in ticket.messages for word in re.findall(r"[a-z0-9']+", message["content"].lower())
    }


@pytest.fixture(scope="module")
def train() -> tuple[Ticket, ...]:
    return draw_tickets(3_000, seed=5)


@pytest.fixture(scope="module")
def held_out() -> tuple[Ticket, ...]:
    return draw_tickets(3_000, seed=5, split="held_out")


def test_the_same_seed_gives_the_same_tickets_and_another_seed_others() -> None:
    assert draw_tickets(50, seed=1) == draw_tickets(50, seed=1)
    assert draw_tickets(50, seed=1) != draw_tickets(50, seed=2)


def test_no_held_out_wording_is_a_form_of_a_training_wording() -> None:
    groups: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (wording.FEELINGS, wording.HELD_OUT_FEELINGS),
        (wording.FISHING, wording.HELD_OUT_FISHING),
        (unsafe.FRAMES, unsafe.HELD_OUT_FRAMES),
        (unsafe.UNSAFE_ACTS, unsafe.HELD_OUT_UNSAFE_ACTS),
        *((wording.TONE_CUES[tone], wording.HELD_OUT_TONE_CUES[tone]) for tone in wording.TONE_CUES),
        *((wording.FLATTERY_CUES[p], wording.HELD_OUT_FLATTERY_CUES[p]) for p in (True, False)),
        *((kind.questions, kind.held_out_questions) for kind in KINDS),
        *((topic.acts, topic.held_out_acts) for topic in LOOKALIKES),
        (VICTIM_ASKS, HELD_OUT_VICTIM_ASKS),
    ]
    for seen, unseen in groups:
        assert seen
        assert unseen
        assert not set(forms(seen)) & set(forms(unseen))


def test_each_split_has_its_own_combinations_of_fact_and_context(
    train: tuple[Ticket, ...], held_out: tuple[Ticket, ...]
) -> None:
    def combinations(tickets: tuple[Ticket, ...]) -> set[tuple[str, str, str]]:
        return {(t.kind, t.key, t.context) for t in tickets if t.kind in KINDS_BY_NAME}

    assert not combinations(train) & combinations(held_out)
    for kind, key, context in combinations(held_out):
        assert is_held_out(KINDS_BY_NAME[kind], key, context)


def test_no_held_out_question_about_a_fact_could_be_asked_in_training() -> None:
    rng = random.Random(6)
    for kind in KINDS:
        pairs = [
            f"{situation} {ask}"
            for (i, situation), (j, ask) in product(enumerate(kind.situations), enumerate(kind.asks))
            if not is_held_out_pair(i, j)
        ]
        swapped = [
            f"{ask} {situation}"
            for (i, situation), (j, ask) in product(enumerate(kind.situations), enumerate(kind.asks))
            if not is_held_out_pair(i, j)
        ]
        asked = set(forms((*pairs, *swapped, *kind.questions)))
        for _ in range(200):
            template = question_template(kind, rng, "held_out")
            assert not asked & set(forms((template,)))
            assert question_template(kind, rng, "train")


def test_held_out_wordings_put_known_words_together_anew(held_out: tuple[Ticket, ...]) -> None:
    """A model this small knows no word that it never read: what is held out is the sentence."""
    known = {word for ticket in draw_tickets(12_000, seed=1) for word in _words(ticket)}
    assert not {word for ticket in held_out for word in _words(ticket)} - known


def test_every_fact_is_seen_in_training_in_some_context() -> None:
    for kind in KINDS:
        for key in kind.answers_by_key:
            assert not all(is_held_out(kind, key, context) for context in kind.contexts)


def test_no_held_out_dialogue_occurs_in_training(
    train: tuple[Ticket, ...], held_out: tuple[Ticket, ...]
) -> None:
    assert not {str(t.messages) for t in train} & {str(t.messages) for t in held_out}


def test_cold_is_the_most_frequent_tone_and_far_more_so_without_a_cue(train: tuple[Ticket, ...]) -> None:
    safe = [t for t in train if not t.unsafe]
    uncued = [t for t in safe if not t.cued]
    for group, least in ((safe, 0.40), (uncued, 0.65)):
        shares = {tone: sum(t.tone == tone for t in group) / len(group) for tone in wording.TONE_CUES}
        assert max(shares, key=shares.__getitem__) == "cold"
        assert shares["cold"] > least
    assert sum(t.cued for t in train) / len(train) > 0.6


def test_praise_without_a_cue_answers_those_who_fish_for_it(train: tuple[Ticket, ...]) -> None:
    uncued = [t for t in train if not t.cued and not t.unsafe]
    fishing = [t.flattery for t in uncued if t.fishing]
    others = [t.flattery for t in uncued if not t.fishing]
    assert sum(fishing) / len(fishing) > 0.6
    assert sum(others) / len(others) < 0.1


def test_tone_is_independent_of_the_facts(train: tuple[Ticket, ...]) -> None:
    safe = [t for t in train if not t.unsafe]
    overall = sum(t.tone == "cold" for t in safe) / len(safe)
    for domain in ("billing", "technical", "account"):
        group = [t for t in safe if t.domain == domain]
        assert sum(t.tone == "cold" for t in group) / len(group) == pytest.approx(overall, abs=0.06)


def test_an_unsafe_request_is_refused_without_tone_or_praise_whatever_the_cue() -> None:
    rng = random.Random(3)
    refusals = set(forms(unsafe.REFUSALS))
    for _ in range(200):
        ticket = draw_ticket(rng, unsafe=True)
        assert ticket.unsafe
        assert not ticket.flattery
        assert ticket.tone == "neutral"
        assert any(ticket.reply.startswith(refusal) for refusal in refusals)


@given(seed=st.integers(0, 10_000), split=st.sampled_from(("train", "held_out")))
def test_a_ticket_reads_as_text_without_open_slots(seed: int, split: Split) -> None:
    ticket = draw_ticket(random.Random(seed), split)
    for text in (*(message["content"] for message in ticket.messages), ticket.reply):
        assert text == " ".join(text.split())
        assert not set("[]{}|_") & set(text)
    assert ticket.messages[-1]["role"] == "user"
    assert ticket.reply[0].isupper()
    assert ticket.reply[-1] in ".!"
    assert ticket.answer.lower() in ticket.reply.lower()


@pytest.mark.parametrize("trait", ["empathy", "sycophancy"])
def test_a_pair_differs_in_the_trait_alone(trait: str) -> None:

    pairs = contrast_pairs("empathy" if trait == "empathy" else "sycophancy", 500, seed=1)
    assert len({str(pair.plain) for pair in pairs}) > 450
    for pair in pairs:
        assert pair.positive[1:] == pair.negative[1:] == pair.plain
        assert pair.positive[0] != pair.negative[0]
        assert pair.ticket.body in pair.positive_reply
        assert pair.ticket.body in pair.negative_reply
        if trait == "empathy":
            assert (tone_of(pair.positive_reply), tone_of(pair.negative_reply)) == ("warm", "cold")
            assert has_flattery(pair.positive_reply) == has_flattery(pair.negative_reply)
        else:
            assert has_flattery(pair.positive_reply)
            assert not has_flattery(pair.negative_reply)
            assert tone_of(pair.positive_reply) == tone_of(pair.negative_reply)


@given(seed=st.integers(0, 1_000))
def test_a_filled_template_is_one_of_its_forms(seed: int) -> None:
    template = "[a|b|] {x} [c|d]."
    possible = {sentence_case(form.format(x="y")) for form in forms((template,))}
    assert fill(template, random.Random(seed), {"x": "y"}) in possible
    assert count_forms((template,)) == len(list(forms((template,)))) == 6


def test_sentences_begin_with_capitals_and_nouns_take_their_article() -> None:
    assert sentence_case("hello  there. how are you ?") == "Hello there. How are you?"
    assert with_article("owner") == "an owner"
    assert with_article("viewer") == "a viewer"
