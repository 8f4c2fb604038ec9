"""The database engine and the columns in memory that it reads: both optional, both loaded at first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["MEMORY_MIB", "arrow", "connect", "engine", "identifier", "literal", "told"]

MEMORY_MIB = 1024
"""What the engine may hold in memory before it goes on in files."""

_HINT = 'questions to the audit need DuckDB and Arrow: pip install "guardsteer[query]"'


def engine() -> ModuleType:
    """Return DuckDB's module; raises ``AuditError`` that says how to install it."""
    try:
        import duckdb
    except ImportError as error:
        raise AuditError(_HINT) from error
    return duckdb


def arrow() -> ModuleType:
    """Return Arrow's module; raises ``AuditError`` that says how to install it."""
    try:
        import pyarrow  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise AuditError(_HINT) from error
    module: ModuleType = pyarrow
    return module


def connect(spill: Path, *, memory_mib: int = MEMORY_MIB, threads: int | None = None) -> DuckDBPyConnection:
    """Return a database of its own, in memory, which goes on in files below ``spill`` when that is full.

    It finds no variables of Python by name, loads no extensions and asks no network.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(spill),
        "memory_limit": f"{memory_mib}MiB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    if threads:
        config["threads"] = threads
    connection: DuckDBPyConnection = engine().connect(":memory:", config=config)
    return connection


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the engine raises into an ``AuditError`` that says what could not be done."""
    try:
        yield
    except engine().Error as error:
        raise AuditError(f"{what}: {error}") from error


def literal(value: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
