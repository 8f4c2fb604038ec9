"""Compile the package's optional extensions while a wheel or an editable installation is built.

Each of ``EXTENSIONS`` is one file in C that does what is done in Python without it, in less time. They are
built all or none: an installation has two states, not one for each choice among them.
``GUARDSTEER_COMPILE`` says what to do with them:

``auto`` (default)
    Compile them. Where that cannot be done for one (no compiler, no headers of Python, no stable ABI, an
    error of the compiler) one line says so, and the package is built in pure Python; nothing else changes.
``off``
    Do not compile them.
``require``
    Compile them, and fail where that cannot be done: for those who build wheels for others.

With the extensions a wheel is tagged ``cp311-abi3-PLATFORM``: one serves every CPython from 3.11 on. Without
them the tag is ``py3-none-any``. In an editable installation each lies beside its source; what an earlier
build left there is removed where none is built now, since sources may have changed.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Any, cast

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilder, WheelBuilderConfig

VARIABLE = "GUARDSTEER_COMPILE"
CHOICES = ("auto", "off", "require")
# The modules; the source of each lies where the module would, and ends in ``.c``.
EXTENSIONS = (
    "guardsteer.classify.words._running",
    "guardsteer.host._products",
    "guardsteer.runtime._strides",
)
# Numbers must be Python's to the last bit: no fused multiply-add, nothing reordered, whatever CFLAGS says.
# No symbols for debuggers: they name the folder of the build, and two builds shall be the same.
FLAGS = ("-O2", "-fno-fast-math", "-ffp-contract=off", "-g0")
FLAGS_OF_WINDOWS = ("/O2", "/fp:precise")


class NotCompiled(Exception):
    """An extension cannot be compiled here; the message says why."""


class ExtensionsHook(BuildHookInterface[WheelBuilderConfig]):
    """Compile the extensions and put them where this kind of wheel needs them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are gathered; ``version`` is ``standard`` or ``editable``."""
        self._scratch = TemporaryDirectory(prefix="guardsteer-")
        built = self._compiled(Path(self._scratch.name))
        if version == "editable":
            for module in EXTENSIONS:
                _place(built.get(module), Path(self.root, target_of(module)))
        elif built:
            builder = cast(WheelBuilder, self.build_config.builder)
            platform = builder.get_best_matching_tag().rpartition("-")[2]
            build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["pure_python"] = False
            for module, file in built.items():
                build_data["force_include"][str(file)] = target_of(module).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the compiler left."""
        del version, build_data, artifact_path
        self._scratch.cleanup()

    def _compiled(self, scratch: Path) -> dict[str, Path]:
        """Return the file of each extension, or none; stop where they are required and cannot be had."""
        wanted = os.environ.get(VARIABLE, "") or "auto"
        if wanted not in CHOICES:
            self.app.abort(f"guardsteer: {VARIABLE} is {wanted!r}; it must be one of {', '.join(CHOICES)}")
        if wanted == "off":
            return {}
        try:
            return compile_extensions(Path(self.root), scratch)
        except NotCompiled as error:
            if wanted == "require":
                self.app.abort(f"guardsteer: {VARIABLE}=require, but the extensions cannot be built: {error}")
            self.app.display_warning(
                f"guardsteer: built without its extensions: {error}. Everything works without them, only more"
                " slowly. To have them: a C compiler and Python's headers, then install again."
            )
            return {}


def source_of(module: str) -> Path:
    """Return where the source of ``module`` lies below the root."""
    return Path(*module.split(".")).with_suffix(".c")


def target_of(module: str) -> Path:
    """Return where ``module``, compiled, belongs below the root, or in a wheel."""
    return source_of(module).with_suffix(".pyd" if _for_windows() else ".abi3.so")


def compile_extensions(root: Path, scratch: Path) -> dict[str, Path]:
    """Compile all in ``scratch``, return the file of each; NotCompiled where one cannot be compiled here."""
    sources = {module: root / source_of(module) for module in EXTENSIONS}
    if absent := [str(source) for source in sources.values() if not source.is_file()]:
        raise FileNotFoundError(f"absent: {', '.join(absent)}; this is a part of the source, fetch it again")
    _look_for_what_is_needed()
    return {module: _compile(module, source, scratch) for module, source in sources.items()}


def _compile(module: str, source: Path, scratch: Path) -> Path:
    try:
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext
        from setuptools.errors import BaseError, CCompilerError
    except ImportError as error:
        raise NotCompiled("setuptools, which runs the compiler, is not installed") from error
    extension = Extension(
        module,
        [str(source)],
        extra_compile_args=list(FLAGS_OF_WINDOWS if _for_windows() else FLAGS),
        libraries=[] if _for_windows() else ["m"],
        py_limited_api=True,
    )
    command = build_ext(Distribution({"name": "guardsteer", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(scratch / "lib"), str(scratch / "temp")
    try:
        command.ensure_finalized()
        command.run()
    except (BaseError, CCompilerError, OSError) as error:
        raise NotCompiled(_why(error, source.name)) from error
    return Path(command.get_ext_fullpath(module))


def _why(error: BaseException, source: str) -> str:
    """Say in a few words what stopped the compiler; a failed command would else be quoted in full."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CalledProcessError):
            return f"{cause.cmd[0]} failed with status {cause.returncode} at {source}"
        if isinstance(cause, FileNotFoundError):
            return f"no C compiler ({cause.filename} is not here)"
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _look_for_what_is_needed() -> None:
    """Raise NotCompiled for what would otherwise end in many lines of the compiler."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotCompiled("this Python has no stable ABI")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        raise NotCompiled(f"Python's headers are missing (no {header})")


def _place(built: Path | None, target: Path) -> None:
    """Put ``built`` at ``target``; without one remove what is there."""
    if built is None:
        target.unlink(missing_ok=True)
        return
    # In one move: a process that has the old one loaded keeps it whole. Whatever leaves targets out of wheels
    # and of commits leaves this one out too, should it stay.
    beside = target.with_name(f".{os.getpid()}.{target.name}")
    beside.write_bytes(built.read_bytes())
    os.replace(beside, target)


def _for_windows() -> bool:
    return sysconfig.get_platform().startswith("win")
