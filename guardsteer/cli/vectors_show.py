"""``guardsteer vectors show`` says what is in a vector, and what was measured of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.steer import Vector

__all__ = ["add", "report", "run"]


def add(actions: frame.Subparsers) -> None:
    """Add ``vectors show``."""
    show = frame.add_command(
        actions,
        "show",
        "print a vector's card, and for each block its norm and how well it separates",
        "guardsteer vectors show vectors/empathy/artifacts/4f0c2a9be1d7/empathy.safetensors --out shown",
    )
    show.add_argument(
        "vector",
        metavar="PATH",
        type=Path,
        help="a .safetensors file, with its card beside it, or their folder",
    )
    show.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="gets NAME.html: the card, and the sweep, trace and calibration that lie beside the vector",
    )


def run(args: argparse.Namespace) -> int:
    """Show; mistakes leave as ``GuardsteerError``."""
    from guardsteer.steer import load_vector

    path = _only_vector_in(args.vector) if args.vector.is_dir() else args.vector
    vector = load_vector(path, fingerprint=None)
    page = None if args.out is None else _page(vector, path, args.out)
    report(vector, path, as_json=args.json, page=page)
    return 0


def _page(vector: Vector, path: Path, out: Path) -> Path:
    from guardsteer.lab.reports.vector import vector_page
    from guardsteer.pages.page import save_page

    text = vector_page(vector, _card_lines(vector, path), path.parent)
    return save_page(out / f"{vector.name}.html", text)


def _only_vector_in(folder: Path) -> Path:
    from guardsteer.errors import VectorError

    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        deeper = sorted(str(path) for path in folder.glob("artifacts/*/*.safetensors"))
        listed = ", ".join(deeper or map(str, found)) or "no .safetensors file"
        raise VectorError(f"{folder}: expected one vector, found {listed}; name the file")
    return found[0]


def report(vector: Vector, path: Path, *, as_json: bool, page: Path | None = None) -> None:
    """Print the card and the blocks of ``vector``, or all of it as JSON; ``page`` is where its page is."""
    norms = [float(norm) for norm in vector.residual_norms]
    if as_json:
        card: dict[str, Any] = vector.card.model_dump(mode="json")
        where = {"path": str(path)} | ({} if page is None else {"report": str(page)})
        frame.emit({"ok": True, **where, "residual_norms": norms, "card": card})
        return
    card_lines = _card_lines(vector, path)
    width = max(len(name) for name, _ in card_lines)
    for name, value in card_lines:
        print(f"{name:<{width}}  {value}")
    print()
    print("\n".join(_table(vector, norms)))
    if page is not None:
        print(f"report  {page}")


def _card_lines(vector: Vector, path: Path) -> list[tuple[str, str]]:
    card, model = vector.card, vector.card.model
    if card.recommended is None:
        strength = "not calibrated"
    else:
        best = card.recommended
        blocks = ", ".join(map(str, best.blocks))
        positions = ", ".join(best.positions)
        strength = f"{best.recommended:g} ({best.low:g} to {best.high:g}) on blocks {blocks} at {positions}"
        if best.schedule is not None:
            told = best.schedule.model_dump(exclude_defaults=True)
            strength += "".join(f", {name} {value}" for name, value in told.items())
    return [
        ("vector", f"{card.name} {card.version} ({card.licence})"),
        ("trait", card.trait),
        ("read", f"{card.method} of {card.source or f'{card.pairs} pairs'}, {card.read}, {card.site}"),
        ("model", f"{model.architecture}, {model.n_blocks} blocks, width {model.width}, {model.dtype}"),
        ("weights", model.weights),
        ("strength", strength),
        ("data", card.data_digest),
        ("digest", vector.digest),
        ("file", str(path)),
    ]


def _table(vector: Vector, norms: list[float]) -> list[str]:
    rows = {row.block: row for row in vector.card.separation}
    lines = [f"{'block':>5}  {'norm':>9}  {'Cohen d':>8}  {'halves':>7}"]
    for block, norm in zip(vector.blocks, norms, strict=True):
        row = rows.get(block)
        cohens_d = _number(row.cohens_d if row else None, ".2f")
        halves = _number(row.split_half_cosine if row else None, ".3f")
        lines.append(f"{block:>5}  {norm:>9.3f}  {cohens_d:>8}  {halves:>7}")
    if vector.card.separation:
        lines.append(
            f"Cohen d on the {vector.card.separation[0].measured_on} pairs; halves: cosine of two halves"
        )
    return lines


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
