"""Assets and the optional extension are found from a wheel, a checkout and an editable installation."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder

PROGRAM = """
import json, sys
from importlib.util import find_spec
import guardsteer
from guardsteer.assets import KINDS, Catalog
from guardsteer.classify.words.kernel import compiled
catalog = Catalog()
extension = find_spec("guardsteer.classify.words._running")
print(json.dumps({
    "package": guardsteer.__file__,
    "roots": [str(root) for root in catalog.roots],
    "names": {kind: catalog.names(kind) for kind in KINDS},
    "readable": all(any(catalog.find(kind, n).iterdir()) for kind in KINDS for n in catalog.names(kind)),
    "extension": extension and extension.origin,
    "compiled": compiled(),
    "torch": "torch" in sys.modules,
}))
"""
WORDS = "guardsteer/classify/words"
EXTENSION = f"{WORDS}/_running.abi3.so"
BROKEN = {"CC": "false"}
"""A compiler that fails."""


def clean_environment() -> dict[str, str]:
    """Return what this process was started with, less what would change where Python and guardsteer look."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GUARDSTEER"))}


def look(tmp_path: Path, *paths: Path) -> dict[str, object]:
    """Run PROGRAM in an empty folder with ``paths`` before the libraries, as ``site`` would add them."""
    adding = "".join(f"site.addsitedir({str(path)!r});" for path in paths)
    # -S leaves out this environment's own site-packages, where guardsteer may be installed too.
    start = f"import site,sys;{adding}site.addsitedir({sysconfig.get_path('purelib')!r});"
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-S", "-c", start + PROGRAM],
        cwd=empty,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def build(
    root: Path, tmp_path: Path, compiling: str, version: str = "standard", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Build a wheel of ``root`` into ``tmp_path/dist``, as an installation does."""
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", f"wheel:{version}", "-d", str(tmp_path / "dist")],
        cwd=root,
        env=clean_environment() | {"GUARDSTEER_COMPILE": compiling} | environment,
        capture_output=True,
        text=True,
    )


def notices(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("guardsteer: ")]


def installed(root: Path, tmp_path: Path, compiling: str, version: str = "standard") -> tuple[str, Path]:
    """Return the name of a wheel built of ``root`` and a folder with what is in it."""
    done = build(root, tmp_path, compiling, version)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return wheel.name, site


def extensions(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*.so")]


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no extension can be compiled."""
    words = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(words[0]) is None:
        pytest.skip(f"needs a C compiler: {words[0]} is absent")
    source = tmp_path_factory.mktemp("compiler") / "nothing.c"
    source.write_text("int nothing(void) { return 0; }\n")
    if subprocess.run([*words, "-c", source.name], cwd=source.parent, capture_output=True).returncode:
        pytest.skip(f"needs a C compiler that works: {words[0]} fails")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        pytest.skip("needs Python's headers: Python.h is absent")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("needs a Python with a stable ABI")


@pytest.fixture(scope="module")
def here(repository: Path) -> dict[str, list[str]]:
    from guardsteer.assets import KINDS, Catalog

    (root,) = Catalog().roots
    assert root == repository
    return {kind: list(Catalog().names(kind)) for kind in KINDS}


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """Return a checkout of its own, since an editable installation writes beside the source."""
    root = tmp_path / "checkout"
    left_out = shutil.ignore_patterns("__pycache__", "*.so", ".*.so.*")
    shutil.copytree(repository / "guardsteer", root / "guardsteer", ignore=left_out)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(repository / name, root / name)
    for name in ("classifiers", "policies", "vectors"):
        (root / name).symlink_to(repository / name)
    return root


def test_from_a_wheel(repository: Path, tmp_path: Path, here: dict[str, list[str]]) -> None:
    name, site = installed(repository, tmp_path, "off")
    assert name.endswith("-py3-none-any.whl")
    tops = {path.name for path in site.iterdir()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"guardsteer"}
    seen = look(tmp_path, site)
    assert seen["package"] == str(site / "guardsteer" / "__init__.py")
    assert seen["roots"] == [str(site / "guardsteer" / "_assets")]
    assert (seen["names"], seen["readable"], seen["torch"]) == (here, True, False)
    assert (extensions(site), seen["extension"], seen["compiled"]) == ([], None, False)


@pytest.mark.usefixtures("compiler")
def test_a_wheel_holds_the_extension_where_it_can_be_compiled(repository: Path, tmp_path: Path) -> None:
    name, site = installed(repository, tmp_path, "auto")
    assert "-cp311-abi3-" in name
    assert "any" not in name
    assert extensions(site) == [EXTENSION]
    assert not list(site.rglob("*.c"))
    assert (site / WORDS / "_running.pyi").is_file()
    assert (site / "guardsteer" / "py.typed").is_file()
    (metadata,) = site.glob("*.dist-info/WHEEL")
    assert "Root-Is-Purelib: false" in metadata.read_text()
    seen = look(tmp_path, site)
    assert (seen["extension"], seen["compiled"]) == (str(site / EXTENSION), True)


def test_without_a_working_compiler_the_wheel_is_pure_and_a_line_says_why(
    checkout: Path, tmp_path: Path
) -> None:
    done = build(checkout, tmp_path, "auto", **BROKEN)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    (notice,) = notices(done)
    assert "built without its extension" in notice
    assert "Everything works without it" in notice


@pytest.mark.parametrize(
    ("compiling", "told"), [("require", "the extension cannot be built"), ("always", "auto, off, require")]
)
def test_an_extension_that_is_required_must_be_built(
    checkout: Path, tmp_path: Path, compiling: str, told: str
) -> None:
    done = build(checkout, tmp_path, compiling, **BROKEN)
    assert done.returncode != 0
    (notice,) = notices(done)
    assert "GUARDSTEER_COMPILE" in notice
    assert told in notice
    assert not list(tmp_path.glob("dist/*.whl"))


def test_from_a_checkout(repository: Path, tmp_path: Path, here: dict[str, list[str]]) -> None:
    seen = look(tmp_path, repository)
    assert seen["roots"] == [str(repository)]
    assert (seen["names"], seen["readable"], seen["torch"]) == (here, True, False)


def test_from_an_editable_installation(checkout: Path, tmp_path: Path, here: dict[str, list[str]]) -> None:
    _, site = installed(checkout, tmp_path, "off", "editable")
    assert not (site / "guardsteer").exists(), (
        "an editable installation must not carry a copy that goes stale"
    )
    seen = look(tmp_path, site)
    assert seen["package"] == str(checkout / "guardsteer" / "__init__.py")
    assert seen["roots"] == [str(checkout)]
    assert (seen["names"], seen["readable"], seen["torch"]) == (here, True, False)
    assert (seen["extension"], seen["compiled"]) == (None, False)


@pytest.mark.usefixtures("compiler")
def test_an_editable_installation_has_the_extension_beside_its_source(checkout: Path, tmp_path: Path) -> None:
    _, site = installed(checkout, tmp_path, "auto", "editable")
    assert extensions(site) == []
    assert extensions(checkout / "guardsteer") == [EXTENSION.removeprefix("guardsteer/")]
    seen = look(tmp_path, site)
    assert (seen["extension"], seen["compiled"]) == (str(checkout / EXTENSION), True)


def test_an_extension_of_an_earlier_build_does_not_stay_where_none_is_built(
    checkout: Path, tmp_path: Path
) -> None:
    stale = checkout / EXTENSION
    for compiling in ("off", "auto"):
        stale.write_bytes(b"made of a source that has changed since")
        done = build(checkout, tmp_path, compiling, "editable", **BROKEN)
        assert done.returncode == 0, done.stderr
        assert not stale.exists()
    stale.write_bytes(b"made of a source that has changed since")
    (checkout / ".gitignore").unlink()
    _, site = installed(checkout, tmp_path / "pure", "off")
    assert extensions(site) == []


def test_the_source_distribution_holds_what_a_build_needs(repository: Path, tmp_path: Path) -> None:
    (source,) = SdistBuilder(str(repository)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(source) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for kind in ("classifiers", "policies", "vectors"):
        assert f"{kind}/README.md" in inside
    assert {"pyproject.toml", "Makefile", "constraints.txt", "LICENSE", "tests/conftest.py"} <= inside
    assert {"hatch_build.py", f"{WORDS}/_running.c", f"{WORDS}/_running.pyi"} <= inside
    assert not [name for name in inside if name.endswith(".so")]
