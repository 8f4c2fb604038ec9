"""The audit's pages of a real run: small here, with all that the large one shows."""

from __future__ import annotations

from pathlib import Path

from examples.audit_pages.traffic import SHOWN, run_traffic
from guardsteer.audit import verify
from guardsteer.audit.text import SubjectKeys, read_texts
from guardsteer.report import period_page, request_page, said_of_kept
from tests.report.reading import read_page


def test_a_real_run_makes_pages_that_show_what_happened(tmp_path: Path) -> None:
    run = run_traffic(tmp_path, tickets=40, seed=5)
    found = verify(run.audit, trusted=run.trusted)
    assert found.ok
    period = read_page(period_page(run.audit, verification=found))
    force = period.table("What was in force")
    assert [row[0] for row in force.rows] == ["demo", "support-2", "kill switch"]
    assert force.column("approved")[1] == "approved by Ada Lovelace"
    assert {row[0] for row in period.table("Tenants by requests").rows} <= {
        "acme",
        "globex",
        "initech",
        "umbrella",
    }
    assert "policy refused" in [row[0] for row in period.table("Halts, revisions").rows]
    pages = {}
    for name, asked in SHOWN.items():
        said = said_of_kept(read_texts(run.audit, SubjectKeys(run.keys), name))
        pages[name] = read_page(request_page(run.audit, name, said=said, verification=found))
        assert "The record is whole" in pages[name].text
        assert "Prompt and answer: the log's keyed digest is that of this text" in pages[name].text
        assert asked in pages[name].text
    acted = pages["billing-and-praise"].table("What acted, with exact strengths").column("vector")
    assert {"add empathy", "add empathy_after", "subtract sycophancy"} == set(acted)
    assert "hand-over halted the row" in pages["handed-over"].text
