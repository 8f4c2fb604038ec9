"""How many records a second the audit makes durable, and what an append costs the thread that generates.

    python -m benchmarks.audit_throughput --json

Every record is synced to the disk before it counts. The folder must lie on a real disk for the figure
to mean anything: `sync_ms` says what one sync costs there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from benchmarks._audit_events import request_events
from guardsteer.audit import open_journal, verify
from guardsteer.core.events import Event

KEY = b"the key of a benchmark, no secret"
BACKLOG_RECORDS = 20_000
BLOCK = 10


def sync_ms(directory: Path) -> float:
    """Return the median milliseconds of writing 4 KiB and syncing it."""
    descriptor = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT)
    times_ms = []
    for _ in range(25):
        start_ns = time.perf_counter_ns()
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
        times_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
    os.close(descriptor)
    return statistics.median(times_ms)


def sustained(directory: Path, events: Sequence[Event], duration_s: float) -> dict[str, float]:
    """Append as fast as the disk takes it for ``duration_s`` seconds; the last flush counts too."""
    source = cycle(events)
    count = 0
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    with open_journal(directory, key=KEY) as journal:
        while time.perf_counter() - start_s < duration_s:
            for _ in range(500):
                journal.append(next(source))
            count += 500
            while journal.backlog > BACKLOG_RECORDS:
                time.sleep(0.001)
        journal.flush()
        elapsed_s = time.perf_counter() - start_s
        cpu_s = time.process_time() - start_cpu_s
        dropped = journal.dropped
    size = sum(path.stat().st_size for path in directory.glob("*.jsonl"))
    return {
        "records": count,
        "dropped": dropped,
        "seconds": round(elapsed_s, 2),
        "records_per_s": round(count / elapsed_s),
        "cpu_us_per_record": round(cpu_s / count * 1e6, 2),
        "bytes_per_record": round(size / count),
    }


def append_cost(directory: Path, events: Sequence[Event], pause_s: float, blocks: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of nanoseconds an append, timed ten at a time.

    ``pause_s`` lies between the blocks, as a model's step does.
    """
    source = cycle(events)
    times_ns = []
    with open_journal(directory, key=KEY) as journal:
        for _ in range(blocks):
            block = [next(source) for _ in range(BLOCK)]
            start_ns = time.perf_counter_ns()
            for event in block:
                journal.append(event)
            times_ns.append((time.perf_counter_ns() - start_ns) / BLOCK)
            if pause_s:
                time.sleep(pause_s)
            while journal.backlog > BACKLOG_RECORDS:
                time.sleep(0.001)
    return statistics.median(times_ns), statistics.quantiles(times_ns, n=100)[98]


def main() -> int:
    """Measure and print; exit status 1 when what was written does not verify or records were dropped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--directory", type=Path, help="where to write (default: the system's temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    args = parser.parse_args()
    events = [event for number in range(500) for event in request_events(number)]
    with tempfile.TemporaryDirectory(dir=args.directory) as name:
        folder = Path(name)
        results: dict[str, float] = {"cores": os.cpu_count() or 0, "sync_ms": round(sync_ms(folder), 3)}
        results |= sustained(folder / "sustained", events, args.seconds)
        start_s = time.perf_counter()
        verification = verify(folder / "sustained")
        results["verified_per_s"] = round(verification.records / (time.perf_counter() - start_s))
        for label, pause_s, blocks in (("step_of_5_ms", 0.005, 400), ("flat_out", 0.0, 20_000)):
            median_ns, worst_ns = append_cost(folder / label, events, pause_s, blocks)
            results[f"append_ns_p50_{label}"] = round(median_ns)
            results[f"append_ns_p99_{label}"] = round(worst_ns)
    good = verification.ok and not results["dropped"] and verification.records == results["records"] + 1
    print(
        json.dumps(results) if args.json else "\n".join(f"{key}: {value}" for key, value in results.items())
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
