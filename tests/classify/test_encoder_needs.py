"""Which encoders a classifier reads with, told by cards."""

from __future__ import annotations

import shutil
from pathlib import Path

from guardsteer.assets import Catalog
from guardsteer.classify.combined.files import Member, write_combination
from guardsteer.classify.encoder_needs import encoders_of
from guardsteer.classify.files.card import read_card
from guardsteer.classify.load import load_folder
from tests.classify.encoder_models import add_head
from tests.classify.folders import linear_folder


def test_a_combination_needs_the_encoders_of_its_members(encoders: Path, tmp_path: Path) -> None:
    """Each once, though nothing of them is here; a member that is lost is left out, since loading tells."""
    for name, seed in (("one", 0), ("other", 1)):
        add_head(tmp_path / name, encoders / "encoders" / "bert", seed=seed)
    words = linear_folder(tmp_path / "words", classes=2)
    members = [
        Member(f"../{name}", load_folder(tmp_path / name, encoders=(encoders / "encoders",)))  # type: ignore[arg-type]  # all of them read text
        for name in ("one", "other", "words")
    ]
    write_combination(tmp_path / "all", members, by="max", outputs=["score"], about={"name": "all"})
    catalog = Catalog()
    found = encoders_of(tmp_path / "all", read_card(tmp_path / "all"), catalog)
    assert [each.name for each in found] == ["bert"]
    assert not encoders_of(words, read_card(words), catalog)
    shutil.rmtree(tmp_path / "one")
    assert encoders_of(tmp_path / "all", read_card(tmp_path / "all"), catalog) == found
    shutil.rmtree(tmp_path / "other")
    assert not encoders_of(tmp_path / "all", read_card(tmp_path / "all"), catalog)


def test_a_combination_that_leads_back_to_itself_ends(tmp_path: Path) -> None:
    """As loading does, it gives up where folders lie within one another without end."""
    words = load_folder(linear_folder(tmp_path / "words", classes=2))
    members = [Member("../all", words), Member("../words", words)]  # type: ignore[arg-type]  # it reads text
    write_combination(tmp_path / "all", members, by="max", outputs=["score"], about={"name": "all"})
    assert not encoders_of(tmp_path / "all", read_card(tmp_path / "all"), Catalog())
