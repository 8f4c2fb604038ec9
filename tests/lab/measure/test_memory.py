"""What was put into a memory is there in the next process, whatever became of the last line."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardsteer.errors import AssetError
from guardsteer.lab.measure.effects import Bench, Push
from guardsteer.lab.measure.memory import Memory
from guardsteer.lab.pairs.prompts import user_prompt
from tests.lab.studies import lettered, parts


def test_values_are_found_by_their_key_in_another_memory(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "memory.jsonl"
    with Memory(path) as memory:
        assert memory.get(["a", 1]) is None
        memory.put(["a", 1], [[1.5, 2], []])
        memory.put(["a", 2], {"x": 0.1})
    again = Memory(path)
    assert (again.get(["a", 1]), again.get(["a", 2]), len(again)) == ([[1.5, 2], []], {"x": 0.1}, 2)


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_last_line_that_was_cut_off_is_left_out_and_what_follows_is_kept(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "memory.jsonl"
    with Memory(path) as memory:
        memory.put("first", 1)
        memory.put("second", 2)
    path.write_bytes(path.read_bytes()[:-lost])
    with Memory(path) as memory:
        assert memory.get("first") == 1
        memory.put("third", 3)
    again = Memory(path)
    assert (again.get("first"), again.get("third")) == (1, 3)
    assert again.get("second") in (None, 2)


def test_a_memory_that_is_forgotten_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    with Memory(path) as memory:
        memory.put("first", 1)
        memory.forget()
    assert not path.exists()
    assert Memory(path).get("first") is None


def test_a_place_that_cannot_be_written_is_an_asset_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AssetError, match="cannot be"):
        Memory(tmp_path / "file" / "memory.jsonl").put("a", 1)


def test_a_bench_with_a_memory_writes_nothing_twice_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = parts()
    vector = lettered({3: 1.0})
    prompts = [user_prompt(f"Tell me about {place}.") for place in range(3)]
    pushes = [Push("letters", (3,), 2.0)]
    found = []
    for turn in range(2):
        with Memory(tmp_path / "memory.jsonl") as memory:
            bench = Bench(model, tokenizer, {"letters": vector}, new_tokens=4, memory=memory)
            if turn:
                monkeypatch.setattr(Bench, "_generate", None)
                monkeypatch.setattr("guardsteer.lab.measure.effects.reply_losses", None)
            with bench:
                replies = bench.steered(prompts, pushes)
                found.append((bench.bare(prompts), replies, bench.losses(prompts, replies)))
    assert found[0] == found[1]


def test_another_vector_is_not_served_by_what_one_of_its_name_wrote(tmp_path: Path) -> None:
    model, tokenizer = parts()
    prompts = [user_prompt("Tell me about it.")]
    pushes = [Push("letters", (3,), 4.0)]
    said = []
    for vector in (lettered({3: 1.0}), lettered({3: -1.0})):
        with (
            Memory(tmp_path / "memory.jsonl") as memory,
            Bench(model, tokenizer, {"letters": vector}, new_tokens=8, memory=memory) as bench,
        ):
            said.append(bench.steered(prompts, pushes))
    assert said[0] != said[1]
