"""What a policy holds back reaches nobody until it has been checked: no streamer, no caller."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import TextIteratorStreamer, TextStreamer

import guardsteer
from guardsteer.audit import read
from guardsteer.core.events import RequestEnded, RowHalted
from guardsteer.errors import UnsupportedError
from tests.models import tiny
from tests.runtime.harness import SPECIAL, Bench, LastCharacters, batch, bench, policy_file, score_of

PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
TOKENS = 14
FALLBACK = "No."


def policy(hold: float, window: int, halt: float, revise: str = "") -> str:
    """Hold back where one score is at least ``hold``, halt where the other is at least ``halt``."""
    again = f"  - {{id: again, when: other.score >= 0.8, revise: {revise}}}\n" if revise else ""
    return f"""
guardsteer: 1
name: hold
classifiers:
  said: {{use: ./none, on: generation}}
  other: {{use: ./none, on: generation}}
rules:
  - {{id: hold, when: other.score >= {hold}, hold_back: {window}}}
  - {{id: stop, when: said.score >= {halt}, halt: true}}
{again}fallback: "{FALLBACK}"
"""


@dataclass
class Recorder:
    """A streamer that notes with each tensor how many passes the model has run."""

    passes: list[int]
    prompt: Tensor | None = None
    columns: list[list[int]] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    ended: bool = False

    def put(self, value: Tensor) -> None:
        if self.prompt is None:
            self.prompt = value
            return
        self.columns.append(value.tolist())
        self.after.append(len(self.passes))

    def end(self) -> None:
        self.ended = True


def guarded(made: Bench, folder: Path, text: str, seeds: tuple[int, int] = (1, 2), **options: Any) -> Any:
    readers = {"said": LastCharacters(seeds[0]), "other": LastCharacters(seeds[1])}
    named = {name: reader for name, reader in readers.items() if f"  {name}:" in text}
    return guardsteer.wrap(
        made.model, made.tokenizer, policy=policy_file(folder, text), classifiers=named, **options
    )


def run(model: Any, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    inputs = batch(prompts)
    options = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL), **options}
    ids = model.generate(**inputs, **options)
    return [row[inputs["input_ids"].shape[1] :] for row in ids.tolist()]


def expected(
    made: Bench, tokens: list[int], hold: float, window: int, halt: float, seeds: tuple[int, int]
) -> tuple[list[int], list[int]]:
    """Return what a row comes to, and for each token how many must have been read before it is released."""
    free: list[int] = []
    for read_ in range(len(tokens) + 1):
        text = made.tokenizer.decode(tokens[:read_])
        said, other = (score_of(seed, text) if text else 0.0 for seed in seeds)
        if read_ == len(tokens) and len(free) == len(tokens):
            break
        if said >= halt:
            fallback = [*made.tokenizer(FALLBACK)["input_ids"], 2]
            return [*tokens[: len(free)], *fallback][:TOKENS], free
        released = read_ - window if other >= hold else read_ + 1
        free += [read_] * (min(released, len(tokens)) - len(free))
    return tokens, free


def trimmed(row: list[int]) -> list[int]:
    while row and row[-1] == 0:
        row = row[:-1]
    return row


@settings(max_examples=60)
@given(
    seeds=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    window=st.integers(0, 6),
    hold=st.sampled_from([0.0, 0.0, 0.3, 0.6]),
    halt=st.sampled_from([0.5, 0.8, 0.9, 1.0, 2.0]),
    rows=st.integers(1, 3),
)
def test_nothing_unchecked_reaches_a_streamer_or_the_caller(
    seeds: tuple[int, int], window: int, hold: float, halt: float, rows: int
) -> None:
    made = bench("llama")
    prompts = PROMPTS[:rows]
    bare = run(made.model, prompts)
    wanted = [expected(made, row, hold, window, halt, seeds) for row in bare]
    passes: list[int] = []
    recorder = Recorder(passes)
    count = made.model.register_forward_hook(lambda *_: passes.append(1))
    with TemporaryDirectory() as folder:
        text = policy(hold, window, halt)
        with guarded(made, Path(folder), text, seeds, audit=Path(folder) / "audit") as guard:
            found = run(guard, prompts, streamer=recorder)
            assert [trimmed(row) for row in found] == [row for row, _ in wanted]
            assert run(guard, prompts) == found, "a streamer must not change what is written"
        ended = [stored.event for stored in read(Path(folder) / "audit")]
    count.remove()
    assert recorder.ended
    assert recorder.prompt is not None
    assert torch.equal(recorder.prompt, batch(prompts)["input_ids"])
    streamed = [list(column) for column in zip(*recorder.columns, strict=True)]
    assert [trimmed(row) for row in streamed] == [row for row, _ in wanted]
    for place, (row, free) in enumerate(wanted):
        for at, after in enumerate(recorder.after[: len(free)]):
            # A pass for the prompt, and one for each token that was read.
            assert after - 1 >= min(free[at], TOKENS - 1), f"token {at} of row {place} came too early"
        assert row[: len(free)] == bare[place][: len(free)]
    finals = [event for event in ended if isinstance(event, RequestEnded)][:rows]
    for event, row, (tokens, free) in zip(finals, bare, wanted, strict=True):
        assert event.generated_tokens == len(tokens)
        halted = tokens != row
        assert (event.reason == "halted") == halted or not halted
        assert event.withheld_tokens == (
            _read_when_halted(made, row, halt, seeds) - len(free) if halted else 0
        )


def _read_when_halted(made: Bench, tokens: list[int], halt: float, seeds: tuple[int, int]) -> int:
    """Return how many tokens had been written when the row was halted."""
    texts = [made.tokenizer.decode(tokens[:n]) for n in range(len(tokens) + 1)]
    return next(n for n, text in enumerate(texts) if (score_of(seeds[0], text) if text else 0.0) >= halt)


@settings(max_examples=60)
@given(
    seeds=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    window=st.integers(0, 4),
    hold=st.sampled_from([0.0, 0.3, 2.0]),
    halt=st.sampled_from([0.8, 1.0, 2.0]),
    tokens=st.integers(1, 4),
    most=st.integers(1, 3),
    rows=st.integers(1, 3),
)
def test_a_streamer_gets_what_is_returned_however_often_rows_go_back(
    seeds: tuple[int, int], window: int, hold: float, halt: float, tokens: int, most: int, rows: int
) -> None:
    made = bench("llama")
    recorder = Recorder([])
    revise = f"{{tokens: {tokens}, most: {most}, then: continue}}"
    text = policy(hold, window, halt, revise)
    with TemporaryDirectory() as folder, guarded(made, Path(folder), text, seeds) as guard:
        found = run(guard, PROMPTS[:rows], streamer=recorder)
        assert run(guard, PROMPTS[:rows]) == found
    streamed = [list(column) for column in zip(*recorder.columns, strict=True)]
    assert streamed == found


SENTENCES = """
guardsteer: 1
name: sentences
classifiers:
  words: {literals: [bad], on: generation}
rules:
  - {id: again, when: words.match > 0, revise: {back_to: sentence, most: 1, then: continue}}
"""


class Writer:
    """Makes the only row write ``first`` until it goes back, then ``second``."""

    def __init__(self, made: Bench, first: str, second: str) -> None:
        self.scripts = [made.tokenizer(text)["input_ids"] for text in (first, second)]
        self.last = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ids = input_ids[0].tolist()
        lead = next(place for place, token in enumerate(ids) if token != ids[0]) - 1
        own = len(ids) - lead - len(PROMPTS[0])
        if own < self.last:
            del self.scripts[0]
        self.last = own
        scores = torch.full_like(scores, -torch.inf)
        scores[0, (self.scripts[0] + [2] * 30)[own]] = 0.0
        return scores


def test_text_that_a_rule_may_take_back_by_the_sentence_streams_by_the_sentence(tmp_path: Path) -> None:
    made = bench("llama")
    passes: list[int] = []
    recorder = Recorder(passes)
    writer = Writer(made, "Ab. Cd. Ef bad", "Ab. Cd. Gh. Ij. Kl.")
    with guarded(made, tmp_path, SENTENCES) as guard:
        count = made.model.register_forward_hook(lambda *_: passes.append(1))
        options: dict[str, Any] = {"logits_processor": [writer], "max_new_tokens": 40}
        (ids,) = run(guard, PROMPTS[:1], streamer=recorder, suppress_tokens=None, **options)
    count.remove()
    text = made.tokenizer.decode(ids, skip_special_tokens=True)
    assert text == "Ab. Cd. Gh. Ij. Kl."
    assert [token for column in recorder.columns for token in column] == ids
    # The first sentence goes once its end was read, the second too; then the third is taken back, and
    # as no rule has a revision left, all else goes as it is written.
    reads = [after - 1 for after in recorder.after]
    assert reads[:8] == [4, 4, 4, 4, 8, 8, 8, 8]
    assert reads[8:] == list(range(15, 15 + len(reads) - 8))


def test_the_streamers_of_transformers_show_what_is_returned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bench("llama")
    with guarded(made, tmp_path, policy(0.0, 3, 0.8)) as guard:
        ids = run(guard, PROMPTS[:1], streamer=TextStreamer(made.tokenizer, skip_prompt=True))[0]
        shown = capsys.readouterr().out
        iterator: Any = TextIteratorStreamer(made.tokenizer, skip_prompt=True, timeout=60)
        thread = threading.Thread(target=run, args=(guard, PROMPTS[:1]), kwargs={"streamer": iterator})
        thread.start()
        iterated = "".join(iterator)
        thread.join()
    assert shown.rstrip("\n") == made.tokenizer.decode(ids) == iterated


@settings(max_examples=60)
@given(
    seeds=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    window=st.integers(0, 6),
    halt=st.sampled_from([0.8, 0.9, 1.0]),
    place=st.integers(0, 2),
    assistant=st.sampled_from([0, 5, -1]),
    length=st.integers(5, TOKENS),
    stop=st.none() | st.integers(1, TOKENS - 1),
)
def test_drafts_stream_only_once_they_were_read_and_kept(
    seeds: tuple[int, int],
    window: int,
    halt: float,
    place: int,
    assistant: int,
    length: int,
    stop: int | None,
) -> None:
    """Drafted by a model that is mostly right, by one that is mostly wrong, and from the prompt.

    The caller's own criterion may end the row while more of the draft was read already.
    """
    made = bench("llama")
    recorder = Recorder([])
    prompt = PROMPTS[place]
    options: dict[str, Any] = {"max_new_tokens": length}
    if assistant < 0:
        options["prompt_lookup_num_tokens"] = 3
    else:
        options["assistant_model"] = tiny("llama", assistant)
    bare = run(made.model, [prompt], **options)[0]
    if stop is not None:
        token = bare[min(stop, length - 1)]
        options["stopping_criteria"] = [lambda ids, _, **__: ids[:, -1] == token]
        bare = run(made.model, [prompt], **options)[0]
    wanted, _ = expected(made, bare, 0.0, window, halt, seeds)
    with (
        TemporaryDirectory() as folder,
        guarded(made, Path(folder), policy(0.0, window, halt), seeds) as guard,
    ):
        found = run(guard, [prompt], streamer=recorder, **options)
    assert trimmed(found[0]) == wanted[:length]
    assert [token for column in recorder.columns for token in column] == found[0]


def test_a_halted_row_is_told_from_where_its_fallback_stands(tmp_path: Path) -> None:
    made = bench("llama")
    with guarded(made, tmp_path, policy(0.0, 3, 0.0), audit=tmp_path / "audit") as guard:
        found = run(guard, PROMPTS[1:2])
    assert trimmed(found[0]) == [*made.tokenizer(FALLBACK)["input_ids"], 2]
    text = policy(0.0, 3, 2.0).replace("said.score >= 2.0", "step >= 6")
    with guarded(made, tmp_path, text, audit=tmp_path / "later") as guard:
        found = run(guard, PROMPTS[1:2])
    events = [stored.event for stored in read(tmp_path / "later")]
    (halted,) = [event for event in events if isinstance(event, RowHalted)]
    # Six were written, and at step 5 the first two were free.
    assert (halted.step, halted.position) == (6, len(PROMPTS[1]) + 2)
    assert trimmed(found[0])[2:] == [*made.tokenizer(FALLBACK)["input_ids"], 2]


def test_a_row_in_shadow_or_off_is_not_held_back(tmp_path: Path) -> None:
    made = bench("llama")
    bare = run(made.model, PROMPTS)
    for mode in ("shadow", '"off"'):
        text = policy(0.0, 3, 0.5) + f"binding: {{mode: {mode}}}\n"
        recorder = Recorder([])
        with guarded(made, tmp_path, text) as guard:
            assert run(guard, PROMPTS, streamer=recorder) == bare
        assert [list(column) for column in zip(*recorder.columns, strict=True)] == bare


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 2}, "num_beams"),
        ({"return_dict_in_generate": True, "output_logits": True}, "output_logits"),
        ({"return_dict_in_generate": True, "output_scores": True}, "output_scores"),
    ],
)
def test_what_would_show_text_that_is_held_back_is_refused(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    made = bench("llama")
    with guarded(made, tmp_path, policy(0.0, 3, 0.8)) as guard, pytest.raises(UnsupportedError, match=said):
        run(guard, PROMPTS[:1], **options)


def test_what_was_released_stays_when_the_row_goes_back_and_is_halted(tmp_path: Path) -> None:
    """Held back until step 4, released from step 5 on; at step 6 a token goes, and at step 7 the row ends."""
    made = bench("llama")
    text = """
guardsteer: 1
name: released
rules:
  - {id: hold, when: step < 5, hold_back: 8}
  - {id: again, when: step == 6, revise: {tokens: 1, most: 1, then: continue}}
  - {id: stop, when: step >= 7, halt: true}
fallback: "No."
"""
    recorder = Recorder([])
    bare = run(made.model, PROMPTS[:1])[0]
    with guarded(made, tmp_path, text) as guard:
        found = run(guard, PROMPTS[:1], streamer=recorder)[0]
    assert trimmed(found) == [*bare[:5], *made.tokenizer(FALLBACK)["input_ids"], 2]
    assert [token for column in recorder.columns for token in column] == found


def test_sentences_are_not_shown_while_the_row_may_go_back_behind_them(tmp_path: Path) -> None:
    """At step 8 it goes back to the third sentence, and anew at step 9 to the second."""
    made = bench("llama")
    recorder = Recorder([])
    text = SENTENCES.replace("words.match > 0", "step >= 8").replace("most: 1", "most: 2")
    writer = Writer(made, "A. B. Cdefg", "A. B. Cdefg")
    writer.scripts += [made.tokenizer("A. Xyz.")["input_ids"]]
    with guarded(made, tmp_path, text) as guard:
        options: dict[str, Any] = {"logits_processor": [writer], "max_new_tokens": 40}
        (ids,) = run(guard, PROMPTS[:1], streamer=recorder, suppress_tokens=None, **options)
    assert made.tokenizer.decode(ids, skip_special_tokens=True) == "A. Xyz."
    assert [token for column in recorder.columns for token in column] == ids


def test_tokens_that_are_withheld_do_not_count_as_steered(tmp_path: Path) -> None:
    made = bench("llama")
    text = """
guardsteer: 1
name: steered
vectors:
  one: {use: ./none, positions: [last_prompt_token, generated]}
rules:
  - {id: warm, when: step >= 0, add: {vector: one, strength: 0.3}}
  - {id: hold, when: step >= 0, hold_back: 3}
  - {id: stop, when: step >= 6, halt: true}
fallback: "No."
"""
    with guarded(
        made, tmp_path, text, vectors={"one": made.vectors["one"]}, audit=tmp_path / "audit"
    ) as guard:
        run(guard, PROMPTS[:1])
    events = [stored.event for stored in read(tmp_path / "audit")]
    (ended,) = [event for event in events if isinstance(event, RequestEnded)]
    # At step 5 two are free; six were chosen under steering.
    assert (ended.steered_tokens, ended.withheld_tokens, ended.generated_tokens) == (2, 4, 2 + 4)
