"""How long questions to an audit of millions of records take, once it is compacted.

    python -m benchmarks.audit_query --records 5000000

Makes the log of a service (four processes, seven days, 40 tenants; about 340 bytes a line), compacts it in
a process of its own, asks every ready-made question five times, and looks up single requests: in tables
that are open, in tables opened anew, and by the command line as a whole. The log is deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks._audit_traffic import write_traffic
from guardsteer.audit.index import QUESTIONS, Tables, compact, open_tables, query_of

RUNS = 5
LOOKUPS = 40
KEYS = ("ms", "cpu_ms")
LIMIT_MS, LOOKUP_LIMIT_MS = 1000.0, 100.0


def folder_bytes(folder: Path, pattern: str) -> int:
    """Return how many bytes the files of a pattern take."""
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def timed_compact(log: str, index: str, check: bool) -> dict[str, float]:
    """Compact in this process; return seconds, processor seconds, records and the most memory it took."""
    start_s = time.perf_counter()
    done = compact([log], index, check=check, processes=os.cpu_count() or 1)
    elapsed_s = time.perf_counter() - start_s
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "records": done.added,
        "seconds": round(elapsed_s, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "records_per_s": round(done.added / elapsed_s),
        "peak_memory_mib": round(usage.ru_maxrss / 1024),
        "ok": not done.findings,
    }


def apart(action: Callable[..., dict[str, float]], *given: object) -> dict[str, float]:
    """Do something in a process of its own, so that its memory is its own too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(action, *given).result()


def timed(action: Callable[[], object], runs: int = RUNS) -> dict[str, float]:
    """Return the median milliseconds of some runs, and those of the processor: fewer than it waited for."""
    times_ms, cpu_ms = [], []
    for _ in range(runs):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        action()
        times_ms.append((time.perf_counter() - start_s) * 1e3)
        cpu_ms.append((time.process_time() - start_cpu_s) * 1e3)
    return {"ms": round(statistics.median(times_ms), 1), "cpu_ms": round(statistics.median(cpu_ms), 1)}


def answered(tables: Tables, query: str) -> int:
    """Ask and read all rows; return how many."""
    return sum(1 for _ in tables.ask(query).rows)


def ask(index: Path, query: str) -> int:
    """Open the index, ask and read all rows, as one command does; return how many."""
    with open_tables([index]) as tables:
        return answered(tables, query)


def lookups(index: Path, seed: int) -> dict[str, Any]:
    """Return the milliseconds that one request takes, drawn at random each time."""
    with open_tables([index]) as tables:
        rows = list(tables.ask("SELECT DISTINCT request FROM all_records WHERE request IS NOT NULL").rows)
        names = [str(row[0]) for row in random.Random(seed).sample(sorted(rows), LOOKUPS)]
        queries = [query_of("request", request=name) for name in names]
        warm = [timed(partial(answered, tables, query), 1) for query in queries]
    anew = [timed(partial(ask, index, query), 1) for query in queries]
    command = [sys.executable, "-m", "guardsteer", "audit", "query", str(index), "--json", "--request"]
    whole = timed(lambda: subprocess.run([*command, names[0]], check=True, stdout=subprocess.DEVNULL))
    return {
        "open_tables": {key: round(statistics.median(each[key] for each in warm), 1) for key in KEYS},
        "opened_anew": {key: round(statistics.median(each[key] for each in anew), 1) for key in KEYS},
        "opened_anew_p90_ms": round(statistics.quantiles([each["ms"] for each in anew], n=10)[-1], 1),
        "whole_command_ms": whole["ms"],
    }


def measure(folder: Path, records: int, seed: int, *, check: bool) -> dict[str, Any]:
    """Make a log below ``folder``, compact it and ask."""
    log, index = folder / "log", folder / "index"
    start_s = time.perf_counter()
    written = write_traffic(log, records, seed=seed)
    result: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "records": written,
        "log_bytes": folder_bytes(log, "*.jsonl"),
        "generate_seconds": round(time.perf_counter() - start_s, 1),
    }
    result["compact"] = apart(timed_compact, str(log), str(index), False)
    if check:
        result["compact_verified"] = apart(timed_compact, str(log), str(folder / "verified"), True)
    result["index_bytes"] = folder_bytes(index, "*.parquet")
    result["parts"] = len(list(index.rglob("*.parquet")))
    result["again"] = timed(lambda: compact([log], index))
    result["lookup"] = lookups(index, seed)
    result["questions"] = {
        name: timed(partial(ask, index, query_of(name)))
        for name, question in QUESTIONS.items()
        if not question.request
    }
    return result


def main() -> int:
    """Measure and print; exit status 1 when a question takes a second, or a request 100 ms."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verify", action="store_true", help="compact a second time, with --verify")
    parser.add_argument(
        "--directory", type=Path, help="where to write (default: the system's temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="audit-query-", dir=args.directory))
    try:
        result = measure(folder, args.records, args.seed, check=args.verify)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))
    slow = [name for name, each in result["questions"].items() if each["ms"] >= LIMIT_MS]
    return 1 if slow or result["lookup"]["opened_anew"]["ms"] >= LOOKUP_LIMIT_MS else 0


if __name__ == "__main__":
    sys.exit(main())
