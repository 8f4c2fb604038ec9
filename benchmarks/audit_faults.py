"""Does the audit keep its word? Kills writers at random moments, changes bytes, deletes lines.

    python -m benchmarks.audit_faults --json

Exit status 1 when a committed record was lost, a log did not verify, or a change was not found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._audit_events import TIME_NS, request_events
from guardsteer.audit import open_journal, read, verify
from guardsteer.core.events import FlagChanged
from guardsteer.errors import AuditError

KEY = b"the key of a benchmark, no secret"
RUNS_PER_DIRECTORY = 10


def write_until_killed(directory: Path, report: int, seed: int) -> None:
    """Append and flush for ever; write the number of events that are durable to the pipe ``report``."""
    chance = random.Random(seed)
    step = 0
    with open_journal(directory, key=KEY, segment_bytes=16_384) as journal:
        while True:
            for _ in range(chance.randint(1, 60)):
                journal.append(
                    FlagChanged(
                        time_ns=TIME_NS,
                        request=str(seed),
                        sequence=0,
                        step=step,
                        flag="f",
                        up=True,
                        score=0.5,
                    )
                )
                step += 1
            journal.flush()
            os.write(report, step.to_bytes(8, "big"))


def kill_once(directory: Path, seed: int, delay_s: float) -> int:
    """Kill a writer after ``delay_s`` seconds; return how many events it said were durable."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            write_until_killed(directory, writer, seed)
        finally:
            os._exit(70)
    os.close(writer)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        reports = pipe.read()
    if os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError(f"the writer ended by itself, status {status}")
    return int.from_bytes(reports[-8:], "big")


def kill_runs(folder: Path, runs: int, chance: random.Random) -> dict[str, object]:
    """Kill ``runs`` writers; ten share a directory, as restarts of one service do."""
    lost = unverified = early = committed_total = 0
    for run in range(runs):
        directory = folder / f"kills-{run // RUNS_PER_DIRECTORY}"
        committed = kill_once(directory, run, chance.uniform(0.0, 0.12))
        committed_total += committed
        early += committed == 0
        try:
            unverified += not verify(directory).ok
        except AuditError:
            # Killed before there was anything: nothing may have been called durable.
            lost += committed
            continue
        steps = [
            stored.event.step for stored in read(directory, str(run)) if isinstance(stored.event, FlagChanged)
        ]
        kept = len(steps) if steps == list(range(len(steps))) else 0
        lost += max(committed - kept, 0)
    return {
        "kills": runs,
        "killed_before_first_commit": early,
        "committed_records": committed_total,
        "lost_committed_records": lost,
        "logs_that_did_not_verify": unverified,
    }


def make_log(directory: Path, requests: int) -> list[Path]:
    """Write and close a log of several segments; return its segments."""
    with open_journal(directory, key=KEY, segment_bytes=48_000) as journal:
        for number in range(requests):
            for event in request_events(number):
                journal.append(event)
            journal.flush()
    return sorted(directory.glob("*.jsonl"))


def change_bytes(
    directory: Path, files: list[Path], changes: int, chance: random.Random
) -> dict[str, object]:
    """Change one byte at a time, anywhere in the segments or the checkpoint; count what is not found."""
    contents = {path: path.read_bytes() for path in files}
    paths, sizes = list(contents), [len(data) for data in contents.values()]
    missed: list[str] = []
    for _ in range(changes):
        (path,) = chance.choices(paths, sizes)
        changed = bytearray(contents[path])
        at = chance.randrange(len(changed))
        changed[at] ^= chance.randint(1, 255)
        path.write_bytes(changed)
        if verify(directory).ok:
            missed.append(f"{path.name}@{at}")
        path.write_bytes(contents[path])
    return {"changes": changes, "changes_not_found": missed}


def delete_lines(directory: Path, segments: list[Path]) -> dict[str, object]:
    """Delete each line of the log in turn; count what is not found."""
    deleted = 0
    missed: list[str] = []
    for path in segments:
        data = path.read_bytes()
        lines = data.splitlines(keepends=True)
        for at in range(len(lines)):
            path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
            deleted += 1
            if verify(directory).ok:
                missed.append(f"{path.name}:{at + 1}")
        path.write_bytes(data)
    return {"lines_deleted": deleted, "deletions_not_found": missed}


def main() -> int:
    """Run everything and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=50, help="requests in the log that is changed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--directory", type=Path, help="where to write (default: the system's temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory(dir=args.directory) as name:
        results = kill_runs(Path(name), args.kills, chance)
        directory = Path(name) / "log"
        segments = make_log(directory, args.requests)
        results["false_alarms_untouched"] = len(verify(directory).findings)
        results |= change_bytes(directory, [*segments, *directory.glob("*.checkpoint")], args.changes, chance)
        results |= delete_lines(directory, segments)
        results["false_alarms_restored"] = len(verify(directory).findings)
    good = {"kills", "killed_before_first_commit", "committed_records", "changes", "lines_deleted"}
    results["ok"] = not any(value for key, value in results.items() if key not in good)
    print(
        json.dumps(results) if args.json else "\n".join(f"{key}: {value}" for key, value in results.items())
    )
    return 0 if results["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
