"""Vectors go out and come back unchanged in every format, and files that are no vectors are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from guardsteer.errors import VectorError
from guardsteer.steer.interchange import FORMATS, export_vector, read_foreign
from guardsteer.steer.interchange_sae import read_sae_feature
from tests.steer.artifacts import WIDTH, small_vector

EXACT = 1e-6
NAMED = sorted(set(FORMATS) - {".npy"})


def _lengths(vector: Any) -> Any:
    return vector.directions * vector.residual_norms[:, None]


@pytest.mark.parametrize("suffix", NAMED)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_what_is_exported_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, seed: int
) -> None:
    if suffix == ".gguf":
        pytest.importorskip("gguf")
    vector = small_vector(seed)
    path = tmp_path_factory.mktemp("out") / f"warmth{suffix}"
    notes = export_vector(vector, path)
    assert any("binding" in note for note in notes)
    found = read_foreign(path)
    assert tuple(found.directions) == vector.blocks
    np.testing.assert_allclose(np.stack(list(found.directions.values())), _lengths(vector), rtol=EXACT)
    assert found.model_hint == ("llama" if suffix in (".gguf", ".svec") else None)
    assert found.notes
    assert path.name in found.source


def test_a_table_has_a_row_for_each_block(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(4, WIDTH))
    np.save(tmp_path / "table.npy", table)
    torch.save(torch.from_numpy(table), tmp_path / "table.pt")
    for name in ("table.npy", "table.pt"):
        found = read_foreign(tmp_path / name)
        assert list(found.directions) == [0, 1, 2, 3]
        np.testing.assert_allclose(found.directions[2], table[2], rtol=EXACT)
    with pytest.raises(VectorError, match=r"a row for each block from 0 on; export it as \.npz"):
        export_vector(small_vector(), tmp_path / "gaps.npy")


def test_a_single_direction_needs_to_be_told_its_block(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(1.0, 9.0))
    with pytest.raises(VectorError, match="does not tell its block"):
        read_foreign(tmp_path / "one.npy")
    assert list(read_foreign(tmp_path / "one.npy", block=3).directions) == [3]


def test_torch_files_of_other_tools_are_read_as_numbers_alone(tmp_path: Path) -> None:
    directions = {layer: torch.ones(WIDTH, dtype=torch.bfloat16) * layer for layer in (1, 5)}
    torch.save({"directions": directions, "name": "x"}, tmp_path / "nested.pt")
    assert list(read_foreign(tmp_path / "nested.pt").directions) == [1, 5]


class _Dangerous:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_no_pickle_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    (tmp_path / "bad.pt").write_bytes(pickle.dumps(_Dangerous(trace)))
    torch.save({"direction.1": _Dangerous(trace)}, tmp_path / "worse.pt")
    np.save(tmp_path / "bad.npy", np.array([_Dangerous(trace)], dtype=object), allow_pickle=True)
    for name in ("bad.pt", "worse.pt", "bad.npy"):
        with pytest.raises(VectorError, match=r"not a (torch|numpy) file of vectors"):
            read_foreign(tmp_path / name)
    assert not trace.exists()


def test_gguf_is_what_llama_cpp_reads(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    vector = small_vector()
    export_vector(vector, tmp_path / "warmth.gguf")
    reader = gguf.GGUFReader(tmp_path / "warmth.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "llama"
    assert reader.get_field("controlvector.layer_count").contents() == 2
    assert {tensor.name: tensor.tensor_type.name for tensor in reader.tensors} == {
        "direction.1": "F32",
        "direction.3": "F32",
    }


@pytest.mark.parametrize("layout", ["repeng", "llama.cpp", "EasySteer"])
def test_gguf_as_other_tools_lay_it_out_is_read(tmp_path: Path, layout: str) -> None:
    gguf = pytest.importorskip("gguf")
    rng = np.random.default_rng(3)
    rows = {layer: rng.normal(size=WIDTH).astype(np.float32) for layer in range(1, 6)}
    kind = "steervector" if layout == "EasySteer" else "controlvector"
    writer = gguf.GGUFWriter(tmp_path / "made.gguf", kind)
    writer.add_string(f"{kind}.model_hint", "qwen2")
    if layout == "llama.cpp":  # counts layers in a signed number
        writer.add_int32(f"{kind}.layer_count", len(rows))
    else:
        writer.add_uint32(f"{kind}.layer_count", len(rows))
    # repeng reads layers from the last to the first, and writes them so.
    for layer in sorted(rows, reverse=layout == "repeng"):
        writer.add_tensor(f"direction.{layer}", rows[layer])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_foreign(tmp_path / "made.gguf")
    assert list(found.directions) == [1, 2, 3, 4, 5]
    for layer, row in rows.items():
        np.testing.assert_array_equal(found.directions[layer], row.astype(np.float64))
    assert found.model_hint == "qwen2"


def test_gguf_in_half_precision_is_read_and_a_quantised_one_refused(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    row = np.random.default_rng(3).normal(size=32).astype(np.float32)
    half, packed = row.astype(np.float16), gguf.quantize(row[None], gguf.GGMLQuantizationType.Q8_0)
    for name, values, kind in (
        ("half", half, None),
        ("quantised", packed[0], gguf.GGMLQuantizationType.Q8_0),
    ):
        writer = gguf.GGUFWriter(tmp_path / f"{name}.gguf", "controlvector")
        writer.add_tensor("direction.2", values, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    found = read_foreign(tmp_path / "half.gguf")
    np.testing.assert_array_equal(found.directions[2], half.astype(np.float64))
    assert found.model_hint is None
    with pytest.raises(VectorError, match=r"direction\.2 is Q8_0, expected F32 or F16"):
        read_foreign(tmp_path / "quantised.gguf")


def test_svec_as_cast_writes_it_is_read_and_ours_as_cast_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = {layer: rng.normal(size=WIDTH).astype(np.float32) for layer in (15, 16, 17)}
    written = {
        "model_type": "llama",
        "directions": {layer: row.tolist() for layer, row in rows.items()},
        "explained_variances": dict.fromkeys(rows, 0.25),
    }
    (tmp_path / "made.svec").write_text(json.dumps(written))
    found = read_foreign(tmp_path / "made.svec")
    assert found.model_hint == "llama"
    for layer, row in rows.items():
        np.testing.assert_array_equal(found.directions[layer], row.astype(np.float64))
    assert any("one block earlier" in note for note in found.notes)

    vector = small_vector()
    export_vector(vector, tmp_path / "ours.svec")
    read = json.loads((tmp_path / "ours.svec").read_text())
    directions = {int(layer): np.array(row) for layer, row in read["directions"].items()}
    np.testing.assert_allclose(np.stack([directions[n] for n in vector.blocks]), _lengths(vector), rtol=EXACT)
    assert {int(layer): float(share) for layer, share in read["explained_variances"].items()}.keys() == set(
        vector.blocks
    )
    assert isinstance(read["model_type"], str)


def test_the_recommended_push_is_told_since_no_format_has_a_place_for_it(tmp_path: Path) -> None:
    notes = "\n".join(export_vector(small_vector(), tmp_path / "warmth.npz"))
    assert "here it acts with" in notes
    assert "every block in the file" in notes
    bare = small_vector(recommended=None)
    assert "here it acts with" not in "\n".join(export_vector(bare, tmp_path / "bare.npz"))


def test_gguf_has_no_place_for_block_0_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    vector = small_vector(blocks=(0, 2), separation=(), recommended=None)
    notes = export_vector(vector, tmp_path / "warmth.gguf")
    assert any("block 0 is left out" in note for note in notes)
    assert list(read_foreign(tmp_path / "warmth.gguf").directions) == [2]


def test_sites_that_a_format_has_no_place_for_are_refused(tmp_path: Path) -> None:
    vector = small_vector(site="mlp")
    for suffix in (".gguf", ".svec"):
        with pytest.raises(VectorError, match="at the output of blocks, the vector's are at mlp"):
            export_vector(vector, tmp_path / f"warmth{suffix}")
    assert any("site is mlp" in note for note in export_vector(vector, tmp_path / "warmth.npz"))


def test_another_gguf_is_refused(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("direction.1", np.ones(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(VectorError, match="a GGUF of llama, expected a control vector"):
        read_foreign(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"direction.1": np.ones(4), "direction.2": np.ones(5)}, "different widths"),
        ({"direction.1": np.zeros(4)}, "block 1: the direction is zero"),
        ({"direction.1": np.array([1.0, np.nan])}, "block 1: the direction is zero or holds NaN"),
        ({"direction.1": np.ones(4), "layer.1": np.ones(4)}, "two directions for block 1"),
        ({"a": np.ones(4), "b": np.ones(4)}, "does not tell its block"),
        ({"direction.1": np.ones((2, 3)), "direction.2": np.ones((2, 3))}, r"has shape \(2, 3\)"),
        ({}, "holds no direction"),
    ],
)
def test_numbers_that_are_no_directions_are_refused(
    tmp_path: Path, rows: dict[str, Any], message: str
) -> None:
    save_file(rows, tmp_path / "bad.safetensors")
    with pytest.raises(VectorError, match=message):
        read_foreign(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=200))
def test_damaged_files_are_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes
) -> None:
    if suffix == ".gguf":
        pytest.importorskip("gguf")
    path = tmp_path_factory.mktemp("bad") / f"bad{suffix}"
    path.write_bytes(data)
    with pytest.raises(VectorError, match="bad"):
        read_foreign(path)


def test_svec_is_what_cast_reads(tmp_path: Path) -> None:
    vector = small_vector()
    export_vector(vector, tmp_path / "warmth.svec")
    content = json.loads((tmp_path / "warmth.svec").read_text())
    assert content["model_type"] == "llama"
    assert {int(block) for block in content["directions"]} == set(vector.blocks)
    assert content["directions"].keys() == content["explained_variances"].keys()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_feature_is_its_row_of_the_decoder(tmp_path: Path, suffix: str) -> None:
    table = np.random.default_rng(1).normal(size=(20, WIDTH)).astype(np.float32)
    for name, stored in (("W_dec", table), ("decoder.weight", np.ascontiguousarray(table.T))):
        path = tmp_path / f"sae{suffix}"
        if suffix == ".npz":
            np.savez(path, **cast(Any, {name: stored}))
        else:
            save_file({name: stored}, path)
        found = read_sae_feature(path, 7, block=2, source="tiny/2-res/7")
        np.testing.assert_array_equal(found.directions[2], table[7].astype(np.float64))
        assert (found.source, found.method) == ("tiny/2-res/7", "sae_feature")
        with pytest.raises(VectorError, match="no feature 20"):
            read_sae_feature(path, 20, block=2, source="x")
        with pytest.raises(VectorError, match="no decoder among"):
            read_sae_feature(path, 1, block=2, source="x", decoder="other")


def test_unknown_endings_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"unknown format '\.txt', expected one of \.gguf"):
        read_foreign(tmp_path / "x.txt")
    with pytest.raises(VectorError, match="unknown format"):
        export_vector(small_vector(), tmp_path / "x.txt")
    with pytest.raises(VectorError, match="cannot be read"):
        read_foreign(tmp_path / "x.npz")
    export_vector(small_vector(), tmp_path / "deep" / "x.safetensors")
    assert set(load_file(tmp_path / "deep" / "x.safetensors")) == {"direction.1", "direction.3"}
