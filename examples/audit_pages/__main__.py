"""Run traffic through the demo model, make the audit's pages of its log, and take their pictures.

python -m examples.audit_pages --out pages/ --pictures docs/pictures
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from examples.audit_pages.browser import picture
from examples.audit_pages.traffic import SHOWN, run_traffic
from guardsteer.audit import verify
from guardsteer.audit.text import SubjectKeys, read_texts
from guardsteer.pages.page import save_page
from guardsteer.report import period_page, request_page, said_of_kept

_SIZES = (("laptop", 1280, 1600, False), ("phone", 390, 1500, True))
"""Name, width and height in pixels, and whether it is dark."""


def main() -> None:
    """Write the pages and, where asked for, their pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pages go")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="take pictures with Chromium, into DIR")
    parser.add_argument("--tickets", type=int, default=600, metavar="N", help="default: 600")
    parser.add_argument("--seed", type=int, default=5, metavar="N", help="default: 5")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = run_traffic(Path(folder), tickets=args.tickets, seed=args.seed)
        verification = verify(run.audit, trusted=run.trusted)
        pages = {"audit-period": period_page(run.audit, verification=verification)}
        for name in SHOWN:
            said = said_of_kept(read_texts(run.audit, SubjectKeys(run.keys), name))
            pages[f"audit-{name}"] = request_page(run.audit, name, said=said, verification=verification)
    for name, text in pages.items():
        path = save_page(args.out / f"{name}.html", text)
        print(f"{path}: {path.stat().st_size:,} bytes")
        if args.pictures is not None:
            _pictures(path, args.pictures / name)


def _pictures(page: Path, base: Path) -> None:
    for kind, width, height, dark in _SIZES:
        made = picture(page, base.with_name(f"{base.name}-{kind}.png"), width, height, dark=dark)
        print(f"{made}: {made.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
