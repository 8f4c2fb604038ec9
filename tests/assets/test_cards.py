"""Every asset that ships says what it is; a card that cannot be read is a typed error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.assets import KINDS, Catalog, Kind
from guardsteer.assets.cards import read_card
from guardsteer.errors import AssetError

SHIPPED = [(kind, name) for kind in KINDS for name in Catalog().names(kind)]


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_what_ships_has_its_folders_name_a_readme_and_a_licence(kind: Kind, name: str) -> None:
    folder = Catalog().find(kind, name)
    card = read_card(kind, folder)
    assert card.name == name
    assert (folder / "README.md").is_file()
    if kind != "policies":
        assert card.version
        assert card.description
        assert card.licence


def test_the_head_is_read_and_the_rest_left_to_its_room(tmp_path: Path) -> None:
    (tmp_path / "classifier.json").write_text(
        '{"name": "calm", "version": "1", "licence": "MIT", "description": "d", "outputs": ["x"]}'
    )
    card = read_card("classifiers", tmp_path)
    assert (card.name, card.version, card.licence, card.description) == ("calm", "1", "MIT", "d")


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("version: 1\nlicence: [a]\n")
    with pytest.raises(AssetError) as caught:
        read_card("vectors", tmp_path)
    assert len(caught.value.problems) == 3
    assert {problem.file for problem in caught.value.problems} == {str(tmp_path / "recipe.yaml")}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"\xff", b"{", b"[" * 20_000, b"name: !!python/object:os.x {}", b"null"],
    ids=["empty", "list", "not UTF-8", "cut", "deep", "python object", "null"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_card_is_an_asset_error(tmp_path: Path, kind: Kind, data: bytes) -> None:
    for file in ("classifier.json", "policy.yaml", "recipe.yaml"):
        (tmp_path / file).write_bytes(data)
    with pytest.raises(AssetError):
        read_card(kind, tmp_path)


def test_an_absent_card_is_an_asset_error(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="No such file"):
        read_card("policies", tmp_path)


@given(data=st.binary(max_size=200), kind=st.sampled_from(KINDS))
def test_any_bytes_give_a_card_or_an_asset_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: Kind
) -> None:
    folder = tmp_path_factory.mktemp("card")
    for file in ("classifier.json", "policy.yaml", "recipe.yaml"):
        (folder / file).write_bytes(data)
    with contextlib.suppress(AssetError):
        assert read_card(kind, folder).name
