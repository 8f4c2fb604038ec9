"""Text and marks stand out from their ground, in light and in dark, by the measure of WCAG 2.2."""

from __future__ import annotations

import re

import pytest

from guardsteer.pages.page import page
from guardsteer.report import shading
from guardsteer.report.style import STYLE


def luminance(color: tuple[float, float, float]) -> float:
    """Return the relative luminance of sRGB from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, float, float], two: tuple[float, float, float]) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def rgb(text: str) -> tuple[float, float, float]:
    digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
    red, green, blue = (int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return red, green, blue


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_marks_stand_out_from_their_ground(dark: bool) -> None:
    style = page("", [], style=STYLE)
    colors: dict[str, str] = {}
    for block in re.findall(r"(?:\{|^)\s*:root\{[^}]*\}|\n:root\{[^}]*\}", style):
        if "color-scheme:light;" not in block and (dark or not block.startswith("{")):
            colors.update(re.findall(r"--(\w+):(#[0-9a-f]{3,6})\b", block))
    assert colors["paper"] == ("#121212" if dark else "#fff")
    paper, ink = rgb(colors["paper"]), rgb(colors["ink"])
    assert contrast(ink, rgb(colors["panel"])) >= 7
    assert contrast(rgb(colors["grey"]), paper) >= 4.5
    assert contrast(rgb(colors["no"]), paper) >= 4.5
    share = shading.MOST_TINT / 100
    for look in range(6):
        mark = rgb(colors[f"c{look}"])
        assert contrast(mark, paper) >= 3
        tint = tuple(share * one + (1 - share) * two for one, two in zip(mark, paper, strict=True))
        assert contrast(ink, (tint[0], tint[1], tint[2])) >= 4.5
