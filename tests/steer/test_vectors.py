"""Vectors on disk come back as they were, or not at all."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save

from guardsteer.core.digests import digest_bytes, digest_json
from guardsteer.errors import BindingError, VectorError
from guardsteer.steer.artifact import Recommendation, Schedule, Tensors, VectorCard, card_digest, pack_tensors
from guardsteer.steer.vectors import (
    check_binding,
    find_artifact,
    load_vector,
    make_vector,
    recommend,
    save_vector,
)
from tests.steer.artifacts import WIDTH, fingerprint_of, small_card, small_vector

_ROOT = Path(__file__).parents[2]


def _reseal(path: Path, tensors: bytes | None = None, **changes: Any) -> None:
    """Write other contents with digests that fit, as a mistaken or hostile tool would."""
    card_path = path.with_suffix(".json")
    fields = json.loads(card_path.read_text())
    if tensors is not None:
        path.write_bytes(tensors)
    fields.update(changes, tensors_digest=digest_bytes(path.read_bytes()), digest="")
    with contextlib.suppress(ValueError):  # the card itself may be what is wrong
        fields["digest"] = card_digest(VectorCard.model_validate_json(json.dumps(fields)))
    card_path.write_text(json.dumps(fields))


def _packed(**changes: Any) -> bytes:
    vector = small_vector()
    tensors: dict[str, Any] = {
        "blocks": np.array(vector.blocks, dtype=np.int64),
        "directions": vector.directions,
        "residual_norms": vector.residual_norms,
    }
    return save({name: value for name, value in {**tensors, **changes}.items() if value is not None})


def test_a_saved_vector_comes_back_bit_for_bit(tmp_path: Path) -> None:
    vector = small_vector()
    path = save_vector(vector, tmp_path / "deep" / "down")
    assert path == tmp_path / "deep" / "down" / "warmth.safetensors"
    loaded = load_vector(path, fingerprint=fingerprint_of())
    assert loaded.card == vector.card
    assert loaded.digest == vector.digest
    assert loaded.directions.tobytes() == vector.directions.tobytes()
    assert loaded.residual_norms.tobytes() == vector.residual_norms.tobytes()
    assert loaded.directions.dtype == np.float32
    assert sorted(p.name for p in path.parent.iterdir()) == ["warmth.json", "warmth.safetensors"]


def test_the_same_vector_makes_the_same_bytes(tmp_path: Path) -> None:
    first = save_vector(small_vector(), tmp_path / "a.safetensors")
    second = save_vector(small_vector(), tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()


def test_rows_are_found_by_block_and_cannot_be_written_to() -> None:
    vector = small_vector()
    assert np.array_equal(vector.direction(3), vector.directions[1])
    assert vector.residual_norm(1) == float(vector.residual_norms[0])
    with pytest.raises(VectorError, match="no direction for block 2, only for 1, 3"):
        vector.direction(2)
    with pytest.raises(ValueError, match="read-only"):
        vector.directions[0, 0] = 0.0


def test_every_single_byte_change_of_either_file_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    vector = small_vector()
    path = save_vector(vector, tmp_path)
    for file in (path, path.with_suffix(".json")):
        original = file.read_bytes()
        for place in range(len(original)):
            changed = bytearray(original)
            changed[place] ^= 1 << (place % 8)
            file.write_bytes(changed)
            try:
                loaded = load_vector(path, fingerprint=fingerprint_of())
            except VectorError:
                continue
            assert loaded.card == vector.card  # white space of the card
            assert loaded.digest == vector.digest
        file.write_bytes(original)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"directions": np.full((2, WIDTH), np.nan, dtype=np.float32)}, "block 1: the direction holds NaN"),
        ({"directions": np.full((2, WIDTH), np.inf, dtype=np.float32)}, "block 3: the direction holds NaN"),
        (
            {"directions": np.ones((2, WIDTH), dtype=np.float32)},
            "got a direction of norm 2.82843, expected 1",
        ),
        ({"directions": np.zeros((2, WIDTH), dtype=np.float32)}, "norm 0, expected 1"),
        ({"directions": np.ones((2, 4), dtype=np.float32)}, r"got F32 \[2, 4\], expected F32 \[2, 8\]"),
        ({"directions": np.ones((2, WIDTH), dtype=np.float64)}, r"got F64 \[2, 8\], expected F32"),
        ({"residual_norms": np.array([1.0, -1.0], dtype=np.float32)}, "block 3: got residual norm -1.0"),
        ({"residual_norms": np.array([np.nan, 1.0], dtype=np.float32)}, "block 1: got residual norm nan"),
        ({"blocks": np.array([1, 2], dtype=np.int64)}, r"got \[1, 2\], the card says \[1, 3\]"),
        ({"blocks": None}, r"tensors: got \['directions', 'residual_norms'\]"),
        ({"extra": np.ones(1, dtype=np.float32)}, "tensors: got .*'extra'"),
    ],
)
def test_numbers_that_no_vector_has_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = save_vector(small_vector(), tmp_path)
    _reseal(path, _packed(**changes))
    with pytest.raises(VectorError, match=message):
        load_vector(path, fingerprint=None)


def test_all_mistakes_of_the_numbers_are_told_at_once(tmp_path: Path) -> None:
    path = save_vector(small_vector(), tmp_path)
    wrong = np.full((2, WIDTH), np.nan, dtype=np.float32)
    _reseal(path, _packed(directions=wrong, residual_norms=np.zeros(2, dtype=np.float32)))
    with pytest.raises(VectorError) as caught:
        load_vector(path, fingerprint=None)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strenght": 1}, "unknown field 'strenght'"),
        ({"licens": "MIT"}, "unknown field 'licens' .did you mean 'licence'"),
        ({"pairs": "64"}, "field 'pairs': got '64', expected a valid integer"),
        ({"pairs": 0}, "pairs: got 0, expected at least 1"),
        ({"format": "guardsteer.vector/2"}, "field 'format'"),
        ({"method": "magic"}, "field 'method'"),
        ({"blocks": [3, 1]}, "ascending order"),
        ({"blocks": [1, 4]}, "the model has 4 blocks"),
        ({"blocks": []}, "field 'blocks'"),
        ({"name": "../up"}, "field 'name'"),
        (
            {"recommended": {"blocks": [2], "low": 0.1, "recommended": 0.2, "high": 0.3}},
            "which the vector lacks",
        ),
        ({"recommended": {"blocks": [1], "low": 0.3, "recommended": 0.2, "high": 0.3}}, "must ascend"),
        ({"recommended": {"blocks": [1], "low": 0.0, "recommended": 0.2, "high": 0.3}}, "recommended.low"),
        ({"model": {}}, "field 'model.weights' is missing"),
    ],
)
def test_cards_outside_the_schema_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save_vector(small_vector(), tmp_path)
    _reseal(path, **changes)
    with pytest.raises(VectorError, match=message) as caught:
        load_vector(path, fingerprint=None)
    assert caught.value.problems[0].file == str(path.with_suffix(".json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"name": "a", "name": "b"}', "field 'name' is given twice"),
        ('{"pairs": NaN}', "NaN is not a number"),
        ('{"pairs": ' + "9" * 5000 + "}", "digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"name": "\\ud800"}', "warmth.json"),
    ],
)
def test_cards_that_are_not_json_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = save_vector(small_vector(), tmp_path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(VectorError, match=message):
        load_vector(path, fingerprint=None)


def test_a_damaged_file_is_told_apart_from_a_damaged_card(tmp_path: Path) -> None:
    path = save_vector(small_vector(), tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(VectorError, match=r"warmth\.safetensors: the file's digest is b3:"):
        load_vector(path, fingerprint=None)
    save_vector(small_vector(), tmp_path)
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace('"high": 0.45', '"high": 4.5'))
    with pytest.raises(VectorError, match=r"warmth\.json: the card's digest is b3:"):
        load_vector(path, fingerprint=None)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("architecture", "GPT2LMHeadModel"),
        ("config", "b3:" + "9" * 64),
        ("weights", "b3:" + "9" * 64),
        ("tokenizer", "b3:" + "9" * 64),
        ("dtype", "bfloat16"),
        ("width", 16),
        ("n_blocks", 6),
    ],
)
def test_a_vector_of_another_model_is_refused_and_the_part_named(
    tmp_path: Path, part: str, value: Any
) -> None:
    path = save_vector(small_vector(), tmp_path)
    with pytest.raises(BindingError) as caught:
        load_vector(path, fingerprint=fingerprint_of(**{part: value}))
    message = str(caught.value)
    assert f"  {part}: the vector was read from" in message
    assert str(value) in message
    assert message.count("the vector was read from") == 1
    assert "guardsteer vectors extract --model PATH --recipe DIR" in message


def test_a_vector_in_memory_is_bound_as_one_on_disk() -> None:
    check_binding(small_vector(), fingerprint_of())
    with pytest.raises(BindingError, match=r"vector 'warmth': belongs to another model.\n  weights: "):
        check_binding(small_vector(), fingerprint_of(weights="b3:" + "9" * 64))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"none\.safetensors: no such file"):
        load_vector(tmp_path / "none.safetensors", fingerprint=None)
    path = save_vector(small_vector(), tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(VectorError, match=r"warmth\.json: no such file"):
        load_vector(path, fingerprint=None)
    with pytest.raises(VectorError, match=r"expected the path of a \.safetensors file"):
        load_vector(tmp_path, fingerprint=None)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(VectorError, match="cannot be read"):
        load_vector(tmp_path / "folder.safetensors", fingerprint=None)


def test_a_file_too_large_for_a_vector_is_not_read(tmp_path: Path) -> None:
    path = save_vector(small_vector(), tmp_path)
    with path.open("ab") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(VectorError, match="larger than"):
        load_vector(path, fingerprint=None)


def test_a_place_that_cannot_be_written_is_a_vector_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VectorError, match="cannot be written"):
        save_vector(small_vector(), tmp_path / "file")


def test_an_artifact_is_found_by_the_fingerprint_of_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "warmth"
    with pytest.raises(VectorError, match="the folder does not exist"):
        find_artifact(folder, fingerprint_of())
    folder.mkdir()
    with pytest.raises(VectorError, match="there are none yet") as caught:
        find_artifact(folder, fingerprint_of())
    assert not isinstance(caught.value, BindingError)
    other = fingerprint_of(dtype="bfloat16")
    save_vector(small_vector(), folder / "artifacts" / other.short)
    with pytest.raises(BindingError, match=f"only for {other.short}.*--recipe {folder}"):
        find_artifact(folder, fingerprint_of())
    path = save_vector(small_vector(), folder / "artifacts" / fingerprint_of().short)
    assert find_artifact(str(folder), fingerprint_of()) == path


def test_a_misplaced_artifact_names_the_recipe_to_build_from(tmp_path: Path) -> None:
    folder = tmp_path / "warmth"
    path = save_vector(small_vector(), folder / "artifacts" / fingerprint_of().short)
    with pytest.raises(BindingError, match=f"--recipe {folder}"):
        load_vector(path, fingerprint=fingerprint_of(dtype="bfloat16"))


@pytest.mark.parametrize(
    ("directions", "norms"),
    [(np.ones((2, WIDTH)), [1.0, 1.0]), (np.ones((1, WIDTH)), [1.0]), (np.eye(2, WIDTH), [1.0, np.nan])],
)
def test_a_vector_is_never_made_of_numbers_that_would_be_refused(directions: Any, norms: Any) -> None:
    with pytest.raises(VectorError):
        make_vector(small_card(), directions=directions, residual_norms=norms)


def test_a_recommendation_goes_on_the_card_and_under_the_digest(tmp_path: Path) -> None:
    bare = small_vector(recommended=None)
    chosen = Recommendation(
        blocks=(1, 3), positions=("last_prompt_token",), low=0.2, recommended=0.3, high=0.5
    )
    vector = recommend(bare, chosen)
    assert vector.card.recommended == chosen
    assert vector.digest != bare.digest
    assert vector.directions.tobytes() == bare.directions.tobytes()
    assert load_vector(save_vector(vector, tmp_path), fingerprint=fingerprint_of()).card == vector.card
    assert recommend(vector, None).digest == bare.digest
    with pytest.raises(VectorError, match=r"no direction for blocks \[2\]"):
        recommend(bare, Recommendation(blocks=(2,), low=0.1, recommended=0.1, high=0.1))


def test_packing_does_not_depend_on_the_layout_in_memory() -> None:
    vector = small_vector()
    blocks = np.asarray(vector.blocks)
    plain = pack_tensors(Tensors(blocks, vector.directions, vector.residual_norms))
    strided = pack_tensors(Tensors(blocks, np.asfortranarray(vector.directions), vector.residual_norms))
    assert plain == strided


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_ROOT)
    return done.stdout


def test_reading_a_vector_loads_no_torch() -> None:
    assert _run("import guardsteer.steer, sys; print('torch' in sys.modules)").strip() == "False"


def test_a_card_from_before_there_were_sites_keeps_its_digest() -> None:
    """Only what a card says is digested: a width that is the model's own is not written."""
    card = small_card()
    fields = card.model_dump(
        mode="json", exclude={"digest": True, "site_width": True, "source": True, "recommended": {"schedule"}}
    )
    assert card_digest(card) == digest_json(fields)
    assert card_digest(small_card(site="heads", site_width=8)) != card_digest(
        small_card(site="heads", site_width=16)
    )


def test_a_schedule_is_part_of_what_a_card_promises() -> None:
    bare = small_vector(recommended=None)
    constant, decaying = (
        recommend(
            bare,
            Recommendation(blocks=bare.blocks[:1], low=0.1, recommended=0.2, high=0.3, schedule=schedule),
        )
        for schedule in (None, Schedule(half_life=3.0))
    )
    assert constant.digest != decaying.digest
    assert decaying.card.recommended is not None
    assert decaying.card.recommended.schedule == Schedule(half_life=3.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"site": "embedding"}, "the embedding belongs to block 0 alone"),
        ({"site": "heads"}, "site_width: missing"),
        ({"site": "mlp", "site_width": 16}, "states at mlp are 8 wide"),
        ({"site": "tail"}, "site"),
    ],
)
def test_a_card_whose_site_makes_no_sense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        small_card(**changes)


def test_directions_are_as_wide_as_the_states_at_their_site(tmp_path: Path) -> None:
    card = small_card(site="heads", site_width=12)
    directions = np.eye(2, 12, dtype=np.float32)
    vector = make_vector(card, directions=directions, residual_norms=[1.0, 2.0])
    loaded = load_vector(save_vector(vector, tmp_path), fingerprint=fingerprint_of())
    assert np.array_equal(loaded.directions, directions)
    assert loaded.card.site == "heads"
    with pytest.raises(VectorError, match=r"got directions \(2, 8\)"):
        make_vector(card, directions=np.eye(2, 8), residual_norms=[1.0, 2.0])
