"""``guardsteer doctor``: is everything here that a guard needs?"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from guardsteer.assets import KINDS, Catalog, Kind
from guardsteer.cli import frame
from guardsteer.cli.checks import Check
from guardsteer.errors import AssetError

__all__ = ["register", "run"]

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scikit-learn",
    "onnxruntime",
    "pydantic",
    "pyyaml",
    "msgspec",
    "structlog",
    "blake3",
    "cryptography",
    "google-re2",
    "ahocorasick_rs",
)
MINIMUM_PYTHON = (3, 11)


def register(subparsers: frame.Subparsers) -> None:
    """Add ``doctor``."""
    parser = frame.add_command(
        subparsers,
        "doctor",
        "check this machine, the installation and, if given, a model",
        "guardsteer doctor --model models/my-chat-model --audit audit/",
    )
    parser.add_argument(
        "--model", type=Path, metavar="PATH", help="also check that this model can be guarded"
    )
    parser.add_argument(
        "--audit", type=Path, metavar="DIR", help="also check that audit can be written there"
    )


def run(args: argparse.Namespace) -> int:
    """Print what was looked at; 1 when anything is not well."""
    checks: list[Check] = []
    for check in _checks(args.model, args.audit):
        checks.append(check)
        if not args.json:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}", flush=True)
            if check.advice:
                print(f"     {check.advice}")
    well = all(check.ok for check in checks)
    if args.json:
        frame.emit({"ok": well, "checks": [asdict(check) for check in checks]})
    return 0 if well else 1


def _checks(model: Path | None, audit: Path | None) -> Iterator[Check]:
    yield _python()
    yield from map(_library, LIBRARIES)
    yield _threads()
    yield from _compiled()
    yield from _assets()
    if audit is not None:
        yield _audit_directory(audit)
    if model is not None:
        from guardsteer.cli.doctor_model import check_model_folder

        yield from check_model_folder(model)


def _python() -> Check:
    ok = sys.version_info >= MINIMUM_PYTHON
    wanted = ".".join(map(str, MINIMUM_PYTHON))
    advice = "" if ok else f"guardsteer needs Python {wanted} or newer"
    return Check(
        "python", ok, f"{platform.python_version()} on {platform.system()} {platform.machine()}", advice
    )


def _library(name: str) -> Check:
    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(
            name, False, "not installed", "reinstall guardsteer: pip install --force-reinstall guardsteer"
        )


def _threads() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("threads", False, f"torch cannot be imported: {error}", "reinstall torch")
    count = torch.get_num_threads()
    advice = "a model of a few million weights runs faster with OMP_NUM_THREADS=1" if count > 1 else ""
    return Check("threads", True, f"torch uses {count} of {os.cpu_count()} processors", advice)


def _compiled() -> Iterator[Check]:
    """Tell which of the parts that are done in Python or by torch too are in use compiled."""
    from guardsteer.classify.words.kernel import compiled
    from guardsteer.host.products import EXCHANGE
    from guardsteer.runtime.strides import STRIDE

    needs = "a C compiler and Python's headers, then reinstall guardsteer"
    for name, found, else_by, more in (
        ("scorer", compiled(), "pure Python", ""),
        ("products", EXCHANGE is not None, "torch", "a torch that hands out DLPack's exchange table, "),
        ("strides", STRIDE is not None, "pure Python", ""),
    ):
        if found:
            yield Check(name, True, "compiled")
        else:
            slowly = f"{else_by}; compiled it does the same in less time"
            yield Check(name, True, slowly, f"to have it compiled: {more}{needs}")


def _assets() -> Iterator[Check]:
    try:
        catalog = Catalog()
    except AssetError as error:
        yield Check("assets", False, str(error))
        return
    roots = ", ".join(map(str, catalog.roots))
    advice = "" if roots else "the package was installed without its assets; reinstall guardsteer"
    yield Check("assets", bool(roots), f"roots: {roots or 'none'}", advice)
    for kind in KINDS:
        yield from _assets_of(catalog, kind)
    yield from _encoders(catalog)


def _assets_of(catalog: Catalog, kind: Kind) -> Iterator[Check]:
    from guardsteer.assets.cards import read_card

    found: list[str] = []
    for name in catalog.names(kind):
        try:
            card = read_card(kind, catalog.find(kind, name))
        except AssetError as error:
            yield Check(f"{kind}/{name}", False, str(error), "mend its card, or move the folder away")
            continue
        found.append(" ".join(filter(None, (name, card.version, card.licence and f"({card.licence})"))))
    yield Check(kind, True, ", ".join(found) or "none")


def _encoders(catalog: Catalog) -> Iterator[Check]:
    """Tell where the encoders are that classifiers of the catalogue read with; none is needed by the rest."""
    from guardsteer.classify.encoder_needs import encoders_of
    from guardsteer.classify.encoders.load import ENVIRONMENT, encoder_folder, encoder_places
    from guardsteer.classify.files.card import read_card

    readers: dict[str, list[str]] = {}
    here: dict[str, str] = {}
    for name in catalog.names("classifiers"):
        folder = catalog.find("classifiers", name)
        try:
            needed = encoders_of(folder, read_card(folder), catalog)
        except AssetError:
            continue  # its own check tells
        for wanted in needed:
            label = f"{wanted.name} in {wanted.precision}"
            readers.setdefault(label, []).append(name)
            found = encoder_folder(wanted, encoder_places(folder, catalog))
            here[label] = "not here" if found is None else str(found)
    for label, names in readers.items():
        advice = (
            f"to use these, export it by 'guardsteer classifiers export' and name its folder in {ENVIRONMENT}"
            if here[label] == "not here"
            else ""
        )
        yield Check(f"encoders/{label}", True, f"{here[label]}; read by {', '.join(names)}", advice)


def _audit_directory(directory: Path) -> Check:
    """Write, sync and remove a scratch file; nothing is created where the directory is absent."""
    if not directory.exists():
        parent = next(folder for folder in directory.absolute().parents if folder.exists())
        ok = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
        advice = "" if ok else f"make {parent} writable or choose another directory"
        return Check("audit", ok, f"{directory} will be created in {parent}", advice)
    try:
        with tempfile.TemporaryFile(dir=directory) as scratch:
            scratch.write(b"guardsteer")
            scratch.flush()
            start = time.perf_counter()
            os.fdatasync(scratch.fileno())
            sync_ms = (time.perf_counter() - start) * 1e3
    except OSError as error:
        return Check(
            "audit", False, f"cannot write in {directory}: {error.strerror}", "choose another directory"
        )
    return Check("audit", True, f"{directory} is writable; a sync takes {sync_ms:.1f} ms")
