"""Pictures of pages, taken by Chromium without a screen and without a network."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["find_browser", "picture"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


def find_browser() -> str | None:
    """Return the path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def picture(page: Path, target: Path, width: int, height: int, *, dark: bool = False) -> Path:
    """Write a picture of the top of a page, ``width`` by ``height`` pixels, as PNG.

    Raises ``RuntimeError`` where there is no Chromium, or it makes no picture.
    """
    browser = find_browser()
    if browser is None:
        raise RuntimeError(f"no browser: none of {', '.join(_NAMES)} is here; install Chromium")
    target.parent.mkdir(parents=True, exist_ok=True)
    scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            *_OPTIONS,
            *scheme,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
        ]
        command += [f"--screenshot={target}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode or not target.is_file():
        raise RuntimeError(f"{browser} took no picture of {page}: {done.stderr[-500:]}")
    return target
