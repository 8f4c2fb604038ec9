"""Compile the package's one optional extension while a wheel or an editable installation is built.

``guardsteer/classify/words/_running.c`` does what its pure-Python twin does, to the last bit, in less time.
``GUARDSTEER_COMPILE`` says what to do with it:

``auto`` (default)
    Compile it. Where that cannot be done (no compiler, no headers of Python, no stable ABI, an error of the
    compiler) one line says so, and the package is built in pure Python; nothing else changes.
``off``
    Do not compile it.
``require``
    Compile it, and fail where that cannot be done: for those who build wheels for others.

With the extension a wheel is tagged ``cp311-abi3-PLATFORM``: one serves every CPython from 3.11 on. Without
it the tag is ``py3-none-any``. In an editable installation the extension lies beside its source; one that an
earlier build left there is removed where none is built now, since its source may have changed.
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
MODULE = "guardsteer.classify.words._running"
SOURCE = "guardsteer/classify/words/_running.c"
# Scores must be Python's to the last bit: no fused multiply-add, nothing reordered, whatever CFLAGS says.
# No symbols for debuggers: they name the folder of the build, and two builds shall be the same.
FLAGS = ("-O2", "-fno-fast-math", "-ffp-contract=off", "-g0")
FLAGS_OF_WINDOWS = ("/O2", "/fp:precise")


class NotCompiled(Exception):
    """The extension cannot be compiled here; the message says why."""


class RunningHook(BuildHookInterface[WheelBuilderConfig]):
    """Compile the extension and put it where this kind of wheel needs it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are gathered; ``version`` is ``standard`` or ``editable``."""
        self._scratch = TemporaryDirectory(prefix="guardsteer-")
        built = self._compiled(Path(self._scratch.name))
        target = Path(SOURCE).with_name("_running.pyd" if _for_windows() else "_running.abi3.so")
        if version == "editable":
            _place(built, Path(self.root, target))
        elif built is not None:
            builder = cast(WheelBuilder, self.build_config.builder)
            platform = builder.get_best_matching_tag().rpartition("-")[2]
            build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["pure_python"] = False
            build_data["force_include"][str(built)] = target.as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the compiler left."""
        del version, build_data, artifact_path
        self._scratch.cleanup()

    def _compiled(self, scratch: Path) -> Path | None:
        """Return the extension, or None to build without; stop where it is required and cannot be had."""
        wanted = os.environ.get(VARIABLE, "") or "auto"
        if wanted not in CHOICES:
            self.app.abort(f"guardsteer: {VARIABLE} is {wanted!r}; it must be one of {', '.join(CHOICES)}")
        if wanted == "off":
            return None
        try:
            return compile_extension(Path(self.root, SOURCE), scratch)
        except NotCompiled as error:
            if wanted == "require":
                self.app.abort(f"guardsteer: {VARIABLE}=require, but the extension cannot be built: {error}")
            self.app.display_warning(
                f"guardsteer: built without its extension: {error}. Everything works without it, only texts"
                " are scored more slowly. To have it: a C compiler and Python's headers, then install again."
            )
            return None


def compile_extension(source: Path, scratch: Path) -> Path:
    """Compile ``source`` in ``scratch`` and return the file; NotCompiled where that cannot be done here."""
    if not source.is_file():
        raise FileNotFoundError(f"{source} is absent; it is a part of the source, fetch the source again")
    _look_for_what_is_needed()
    try:
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext
        from setuptools.errors import BaseError, CCompilerError
    except ImportError as error:
        raise NotCompiled("setuptools, which runs the compiler, is not installed") from error
    extension = Extension(
        MODULE,
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
        raise NotCompiled(_why(error)) from error
    return Path(command.get_ext_fullpath(MODULE))


def _why(error: BaseException) -> str:
    """Say in a few words what stopped the compiler; a failed command would else be quoted in full."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CalledProcessError):
            return f"{cause.cmd[0]} failed with status {cause.returncode}"
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
    # In one move: a process that has the old one loaded keeps it whole.
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_bytes(built.read_bytes())
    os.replace(beside, target)


def _for_windows() -> bool:
    return sysconfig.get_platform().startswith("win")
