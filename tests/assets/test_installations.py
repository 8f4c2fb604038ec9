"""Assets and the optional extensions are found from a wheel, a checkout and an editable installation."""

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

from hatch_build import EXTENSIONS, source_of, target_of

PROGRAM = """
import json, sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
import guardsteer
from guardsteer.assets import KINDS, Catalog
from guardsteer.classify.words.kernel import compiled
catalog = Catalog()

def extension(name):
    # By itself: the room around it would load torch.
    folder = Path(guardsteer.__file__).parents[1].joinpath(*name.split(".")[:-1])
    spec = PathFinder.find_spec(name, [str(folder)])
    if spec is None:
        return None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__file__ if module.VERSION else None

print(json.dumps({
    "package": guardsteer.__file__,
    "roots": [str(root) for root in catalog.roots],
    "names": {kind: catalog.names(kind) for kind in KINDS},
    "readable": all(any(catalog.find(kind, n).iterdir()) for kind in KINDS for n in catalog.names(kind)),
    "extensions": [extension(name) for name in sys.argv[1:]],
    "compiled": compiled(),
    "torch": "torch" in sys.modules,
}))
"""
SOURCES = [source_of(module) for module in EXTENSIONS]
TARGETS = [target_of(module) for module in EXTENSIONS]
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
        [sys.executable, "-S", "-c", start + PROGRAM, *EXTENSIONS],
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


def compiled_in(root: Path) -> list[Path]:
    """Return what is compiled in the package below ``root``."""
    return sorted(path.relative_to(root) for path in (root / "guardsteer").rglob("*.so"))


def leave_old_builds(root: Path) -> None:
    for target in TARGETS:
        (root / target).write_bytes(b"made of a source that has changed since")


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
    left_out = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(repository / "guardsteer", root / "guardsteer", ignore=left_out)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(repository / name, root / name)
    for name in ("classifiers", "policies", "vectors"):
        (root / name).symlink_to(repository / name)
    return root


def test_every_source_in_c_is_compiled(repository: Path) -> None:
    there = {path.relative_to(repository) for path in (repository / "guardsteer").rglob("*.c")}
    assert there == set(SOURCES), (
        "hatch_build.EXTENSIONS must name each file in C of the package and no other"
    )
    assert len(EXTENSIONS) == len(SOURCES) == len(set(SOURCES))


def test_from_a_wheel(repository: Path, tmp_path: Path, here: dict[str, list[str]]) -> None:
    name, site = installed(repository, tmp_path, "off")
    assert name.endswith("-py3-none-any.whl")
    tops = {path.name for path in site.iterdir()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"guardsteer"}
    seen = look(tmp_path, site)
    assert seen["package"] == str(site / "guardsteer" / "__init__.py")
    assert seen["roots"] == [str(site / "guardsteer" / "_assets")]
    assert (seen["names"], seen["readable"], seen["torch"]) == (here, True, False)
    assert (compiled_in(site), seen["compiled"]) == ([], False)
    assert seen["extensions"] == [None for _ in EXTENSIONS]


@pytest.mark.usefixtures("compiler")
def test_a_wheel_holds_the_extensions_where_they_can_be_compiled(repository: Path, tmp_path: Path) -> None:
    name, site = installed(repository, tmp_path, "auto")
    assert "-cp311-abi3-" in name
    assert "any" not in name
    assert compiled_in(site) == sorted(TARGETS)
    assert not list(site.rglob("*.c"))
    assert all((site / source).with_suffix(".pyi").is_file() for source in SOURCES)
    assert (site / "guardsteer" / "py.typed").is_file()
    (metadata,) = site.glob("*.dist-info/WHEEL")
    assert "Root-Is-Purelib: false" in metadata.read_text()
    seen = look(tmp_path, site)
    assert (seen["extensions"], seen["compiled"]) == ([str(site / target) for target in TARGETS], True)


def test_without_a_working_compiler_the_wheel_is_pure_and_a_line_says_why(
    checkout: Path, tmp_path: Path
) -> None:
    done = build(checkout, tmp_path, "auto", **BROKEN)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    (notice,) = notices(done)
    assert "built without its extensions" in notice
    assert "Everything works without them" in notice


@pytest.mark.parametrize(
    ("compiling", "told"), [("require", "the extensions cannot be built"), ("always", "auto, off, require")]
)
def test_extensions_that_are_required_must_be_built(
    checkout: Path, tmp_path: Path, compiling: str, told: str
) -> None:
    done = build(checkout, tmp_path, compiling, **BROKEN)
    assert done.returncode != 0
    (notice,) = notices(done)
    assert "GUARDSTEER_COMPILE" in notice
    assert told in notice
    assert not list(tmp_path.glob("dist/*.whl"))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("broken", SOURCES, ids=EXTENSIONS)
def test_where_one_extension_cannot_be_compiled_there_is_none(
    checkout: Path, tmp_path: Path, broken: Path
) -> None:
    with (checkout / broken).open("a") as source:
        source.write("#error cannot be compiled\n")
    leave_old_builds(checkout)
    done = build(checkout, tmp_path, "auto", "editable")
    assert done.returncode == 0, done.stderr
    assert compiled_in(checkout) == []
    (notice,) = notices(done)
    assert f"at {broken.name}" in notice
    name, site = installed(checkout, tmp_path / "pure", "auto")
    assert name.endswith("-py3-none-any.whl")
    assert compiled_in(site) == []
    done = build(checkout, tmp_path / "required", "require")
    assert done.returncode != 0
    assert not list(tmp_path.glob("required/dist/*.whl"))


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
    assert (seen["extensions"], seen["compiled"]) == ([None for _ in EXTENSIONS], False)


@pytest.mark.usefixtures("compiler")
def test_an_editable_installation_has_extensions_beside_their_sources(checkout: Path, tmp_path: Path) -> None:
    leave_old_builds(checkout)
    _, site = installed(checkout, tmp_path, "auto", "editable")
    assert compiled_in(site) == []
    assert compiled_in(checkout) == sorted(TARGETS)
    seen = look(tmp_path, site)
    assert (seen["extensions"], seen["compiled"]) == ([str(checkout / target) for target in TARGETS], True)


def test_extensions_of_an_earlier_build_do_not_stay_where_none_are_built(
    checkout: Path, tmp_path: Path
) -> None:
    for compiling in ("off", "auto"):
        leave_old_builds(checkout)
        done = build(checkout, tmp_path, compiling, "editable", **BROKEN)
        assert done.returncode == 0, done.stderr
        assert compiled_in(checkout) == []
    leave_old_builds(checkout)
    (checkout / ".gitignore").unlink()
    _, site = installed(checkout, tmp_path / "pure", "off")
    assert compiled_in(site) == []


def test_the_source_distribution_holds_what_a_build_needs(repository: Path, tmp_path: Path) -> None:
    (source,) = SdistBuilder(str(repository)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(source) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for kind in ("classifiers", "policies", "vectors"):
        assert f"{kind}/README.md" in inside
    assert {"pyproject.toml", "Makefile", "constraints.txt", "LICENSE", "tests/conftest.py"} <= inside
    needed = {path.as_posix() for source in SOURCES for path in (source, source.with_suffix(".pyi"))}
    assert {"hatch_build.py"} | needed <= inside
    assert not [name for name in inside if name.endswith(".so")]
