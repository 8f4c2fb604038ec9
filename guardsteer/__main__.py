"""``python -m guardsteer`` is the ``guardsteer`` command."""

from __future__ import annotations

from guardsteer.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
