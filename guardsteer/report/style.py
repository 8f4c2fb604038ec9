"""How the audit's pages look, beyond what all pages share."""

from __future__ import annotations

from guardsteer.audit import Verification
from guardsteer.pages.lanes import LANES_STYLE
from guardsteer.report.axis import clock
from guardsteer.report.shading import SHADING_STYLE

__all__ = ["STYLE", "made_note", "verified"]

STYLE = (
    """
:root{--ink:#1b1b1b;--paper:#fff;--panel:#f6f6f3}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--paper:#121212;--panel:#262626}}
body{color:var(--ink);background:var(--paper)}
h2{border-top:1px solid var(--line);padding-top:1.1rem}
.card{font-size:.92rem}
@media (max-width:40rem){.card{grid-template-columns:minmax(0,1fr);gap:0}.card dd{margin-bottom:.4rem}}
@media print{:root{color-scheme:light;--ink:#000;--paper:#fff;--grey:#555;--line:#bbb}
body{max-width:none;font-size:10.5pt;padding:0}h2,h3,summary{break-after:avoid}
tr,figure,.facts div,.verdict{break-inside:avoid}.lanes{break-inside:auto}
.scroll{overflow:visible}details::details-content{content-visibility:visible;display:block;height:auto}
@page{margin:16mm 14mm}}
"""
    + LANES_STYLE
    + SHADING_STYLE
)


def made_note(made_ns: int) -> str:
    """Return the line at a page's end: when it was made, and that it is no evidence by itself."""
    return (
        f'<p class="note">Made from the audit log at {clock(made_ns)} UTC. This page is a view; the log, its '
        "signatures and its anchors are the evidence.</p>"
    )


def verified(found: Verification) -> str:
    """Return how much was verified."""
    records = f"{found.records:,} record{'' if found.records == 1 else 's'}"
    return f"{records} in {len(found.streams):,} stream{'' if len(found.streams) == 1 else 's'}"
