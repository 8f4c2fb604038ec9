"""The catalogue finds what is there, says where it looked, and never leaves its roots."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.assets import KINDS, Catalog, Kind, find_policy, resolve
from guardsteer.assets.catalog import ENVIRONMENT, built_in_root
from guardsteer.errors import AssetError

MARKS: dict[Kind, str] = {
    "classifiers": "classifier.json",
    "policies": "policy.yaml",
    "vectors": "recipe.yaml",
}


def put(root: Path, kind: Kind, name: str) -> Path:
    folder = root / kind / name
    folder.mkdir(parents=True)
    (folder / MARKS[kind]).write_text("")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_an_asset_is_found_by_name_and_listed(tmp_path: Path, kind: Kind) -> None:
    folder = put(tmp_path, kind, "calm-tone")
    catalog = Catalog([tmp_path])
    assert catalog.find(kind, "calm-tone") == folder
    assert "calm-tone" in catalog.names(kind)


def test_roots_are_searched_in_order_argument_environment_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_root, first, second = tmp_path / "given", tmp_path / "first", tmp_path / "second"
    for root in (given_root, first, second):
        put(root, "policies", "support")
    put(first, "policies", "sales")
    put(second, "policies", "sales")
    monkeypatch.setenv(ENVIRONMENT, os.pathsep.join([str(first), str(second)]))
    catalog = Catalog([given_root])
    assert catalog.find("policies", "support") == given_root / "policies" / "support"
    assert catalog.find("policies", "sales") == first / "policies" / "sales"
    assert catalog.roots[-1] == built_in_root()


def test_a_missing_asset_says_where_was_looked_and_what_was_meant(tmp_path: Path) -> None:
    put(tmp_path, "vectors", "empathy-for-tests")
    with pytest.raises(AssetError) as caught:
        Catalog([tmp_path]).find("vectors", "empathy-for-test")
    message = str(caught.value)
    assert "did you mean 'empathy-for-tests'?" in message
    assert str(tmp_path / "vectors" / "empathy-for-test") in message
    assert ENVIRONMENT in message


def test_a_folder_without_its_mark_is_no_asset_and_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "classifiers" / "half-built").mkdir(parents=True)
    catalog = Catalog([tmp_path])
    assert "half-built" not in catalog.names("classifiers")
    with pytest.raises(AssetError, match=r"exists but holds no classifier\.json"):
        catalog.find("classifiers", "half-built")


@pytest.mark.parametrize("source", ["argument", "environment"])
def test_a_root_that_is_named_but_absent_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    absent = tmp_path / "absent"
    if source == "environment":
        monkeypatch.setenv(ENVIRONMENT, str(absent))
    with pytest.raises(AssetError, match="no such folder"):
        Catalog([absent] if source == "argument" else [])


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../secret", "a/b", "/etc", "a\0b", ".hidden", "a" * 200, "é", "a\n", "-x", "\ud800"],
)
def test_a_name_never_leads_out_of_the_roots(tmp_path: Path, name: str) -> None:
    put(tmp_path / "root", "policies", "support")
    put(tmp_path / "root", "policies", "secret").rename(tmp_path / "root" / "secret")
    with pytest.raises(AssetError, match="is no name of a policy") as caught:
        Catalog([tmp_path / "root"]).find("policies", name)
    str(caught.value).encode()  # a message can be printed, whatever the name held


@given(use=st.text(max_size=300))
def test_any_use_gives_a_path_or_an_asset_error(use: str) -> None:
    for text in (use, f"./{use}", f"../{use}"):
        try:
            found = resolve("policies", text, Path("/nonexistent-base"), Catalog())
        except AssetError:
            continue
        assert found.exists()


def test_a_path_is_taken_relative_to_the_policy(tmp_path: Path) -> None:
    folder = put(tmp_path, "vectors", "mine")
    base = tmp_path / "policies" / "support"
    base.mkdir(parents=True)
    catalog = Catalog()
    assert resolve("vectors", "../../vectors/mine", base, catalog) == folder.resolve()
    assert resolve("vectors", "./mine", tmp_path / "vectors", catalog) == folder.resolve()
    assert resolve("vectors", str(folder), base, catalog) == folder.resolve()


@pytest.mark.parametrize("use", ["./absent", "../absent", "/absent-folder", "./a\0b", "./" + "a" * 5000])
def test_a_path_to_nothing_is_an_error_that_names_the_base(tmp_path: Path, use: str) -> None:
    with pytest.raises(AssetError, match="is taken relative to") as caught:
        resolve("vectors", use, tmp_path, Catalog())
    assert str(tmp_path) in str(caught.value)


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(AssetError, match="cannot read"):
        resolve("vectors", "./loop", tmp_path, Catalog())


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(AssetError, match="the kinds are classifiers, policies, vectors"):
        Catalog().find("models", "x")  # type: ignore[arg-type]  # wrong on purpose


def test_folders_beside_the_package_count_only_when_they_are_guardsteers(tmp_path: Path) -> None:
    package = tmp_path / "guardsteer"
    package.mkdir()
    put(tmp_path, "policies", "foreign")
    assert built_in_root(package) is None
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\n')
    assert built_in_root(package) is None
    (tmp_path / "pyproject.toml").write_text("not toml")
    assert built_in_root(package) is None
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "guardsteer"\n')
    assert built_in_root(package) == tmp_path


def test_without_any_root_the_error_says_that_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardsteer.assets.catalog.built_in_root", lambda: None)
    with pytest.raises(AssetError, match="no assets are installed"):
        Catalog().find("policies", "support")


def test_a_policy_is_a_path_where_one_exists_and_a_name_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = put(tmp_path / "assets", "policies", "support")
    catalog = Catalog([tmp_path / "assets"])
    monkeypatch.chdir(tmp_path)
    assert find_policy("support", catalog) == named
    (tmp_path / "support").mkdir()
    assert find_policy("support", catalog) == Path("support")
    assert find_policy(named / "policy.yaml", catalog) == named / "policy.yaml"


@pytest.mark.parametrize(
    "policy", ["./support", "a/b", "/absent", Path("support"), "x" * 5000, "a\0b", "unknown"]
)
def test_a_policy_that_is_neither_is_an_error(tmp_path: Path, policy: str | Path) -> None:
    put(tmp_path, "policies", "support")
    with pytest.raises(AssetError):
        find_policy(policy, Catalog([tmp_path]))
