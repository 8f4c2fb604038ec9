"""How long the audit's pages take to make, how much memory, and how large they are.

    python -m benchmarks.audit_report --records 350000

Makes the log of a service (four processes, seven days, 40 tenants), then runs ``guardsteer audit report``
five times for the page of the whole period and for that of one request, each as a process of its own, the
first without verification and then with it. The log is deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._audit_traffic import write_traffic
from guardsteer.audit import read
from guardsteer.core.events import RequestEnded

RUNS = 5


def timed(log: Path, page: Path, options: list[str], runs: int) -> dict[str, float | list[float]]:
    """Return the median, the least and the most seconds of ``runs`` runs, processor time and memory."""
    walls, processor, memory = [], [], []
    command = [sys.executable, "-m", "guardsteer", "audit", "report", str(log), "--out", str(page), *options]
    for _ in range(runs):
        start_s = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        walls.append(time.perf_counter() - start_s)
        if status:
            raise SystemExit(f"{' '.join(command)}: ended with {status}")
        processor.append(usage.ru_utime + usage.ru_stime)
        memory.append(usage.ru_maxrss / 1024)
    return {
        "median_s": round(statistics.median(walls), 2),
        "range_s": [round(min(walls), 2), round(max(walls), 2)],
        "processor_s": round(statistics.median(processor), 2),
        "processor_range_s": [round(min(processor), 2), round(max(processor), 2)],
        "memory_mib": round(max(memory)),
        "page_bytes": page.stat().st_size,
    }


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=350_000, metavar="N", help="default: 350,000")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"default: {RUNS}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log, page = Path(folder) / "audit", Path(folder) / "page.html"
        log.mkdir()
        records = write_traffic(log, args.records, seed=args.seed)
        steered = (s.event for s in read(log) if isinstance(s.event, RequestEnded) and s.event.steered_tokens)
        request = ["--request", next(steered).request]
        found = {
            name: timed(log, page, options, args.runs)
            for name, options in (
                ("period", ["--no-verify"]),
                ("period, verified", []),
                ("request", [*request, "--no-verify"]),
                ("request, verified", request),
            )
        }
    print(
        json.dumps({"records": records, "seed": args.seed, "processors": os.cpu_count(), **found}, indent=1)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
