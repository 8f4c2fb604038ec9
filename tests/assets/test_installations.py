"""The assets are found from a wheel, from a checkout and from an editable installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

PROGRAM = """
import json, sys
import guardsteer
from guardsteer.assets import KINDS, Catalog
catalog = Catalog()
print(json.dumps({
    "package": guardsteer.__file__,
    "roots": [str(root) for root in catalog.roots],
    "names": {kind: catalog.names(kind) for kind in KINDS},
    "readable": all(any(catalog.find(kind, n).iterdir()) for kind in KINDS for n in catalog.names(kind)),
    "torch": "torch" in sys.modules,
}))
"""


def look(tmp_path: Path, *paths: Path) -> dict[str, object]:
    """Run PROGRAM in an empty folder with ``paths`` before the libraries, as ``site`` would add them."""
    adding = "".join(f"site.addsitedir({str(path)!r});" for path in paths)
    # -S leaves out this environment's own site-packages, where guardsteer may be installed too.
    start = f"import site,sys;{adding}site.addsitedir({sysconfig.get_path('purelib')!r});"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GUARDSTEER"))
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", start + PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def here(repository: Path) -> dict[str, list[str]]:
    from guardsteer.assets import KINDS, Catalog

    (root,) = Catalog().roots
    assert root == repository
    return {kind: list(Catalog().names(kind)) for kind in KINDS}


def test_from_a_wheel(repository: Path, tmp_path: Path, here: dict[str, list[str]]) -> None:
    (wheel,) = WheelBuilder(str(repository)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    tops = {path.name for path in site.iterdir()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"guardsteer"}
    empty = tmp_path / "empty"
    empty.mkdir()
    seen = look(empty, site)
    assert seen["package"] == str(site / "guardsteer" / "__init__.py")
    assert seen["roots"] == [str(site / "guardsteer" / "_assets")]
    assert (seen["names"], seen["readable"], seen["torch"]) == (here, True, False)


def test_from_a_checkout(repository: Path, tmp_path: Path, here: dict[str, list[str]]) -> None:
    seen = look(tmp_path, repository)
    assert seen["roots"] == [str(repository)]
    assert (seen["names"], seen["readable"], seen["torch"]) == (here, True, False)


def test_from_an_editable_installation(repository: Path, tmp_path: Path, here: dict[str, list[str]]) -> None:
    (wheel,) = WheelBuilder(str(repository)).build(directory=str(tmp_path / "dist"), versions=["editable"])
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert not (site / "guardsteer").exists(), (
        "an editable installation must not carry a copy that goes stale"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    seen = look(empty, site)
    assert seen["package"] == str(repository / "guardsteer" / "__init__.py")
    assert seen["roots"] == [str(repository)]
    assert (seen["names"], seen["readable"], seen["torch"]) == (here, True, False)


def test_the_source_distribution_holds_the_asset_folders(repository: Path, tmp_path: Path) -> None:
    (source,) = SdistBuilder(str(repository)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(source) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for kind in ("classifiers", "policies", "vectors"):
        assert f"{kind}/README.md" in inside
    assert {"pyproject.toml", "Makefile", "constraints.txt", "LICENSE", "tests/conftest.py"} <= inside
