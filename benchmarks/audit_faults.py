"""Does the audit keep its word? Kills writers at random moments, fills the disk, tampers with logs.

    python -m benchmarks.audit_faults --kills 1000 --tamperings 10000 --json

Exit status 1 when a committed record was lost, a log did not verify, or a tampering was not found and named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks._audit_events import TIME_NS, request_events
from benchmarks._audit_tampering import KEY, TAMPERINGS, Log, make_log
from guardsteer.audit import open_journal, read, verify
from guardsteer.core.events import FlagChanged
from guardsteer.errors import AuditError

WRITERS = 8
KILLS_PER_DIRECTORY = 50
UNTOUCHED_EVERY = 50
DISK_KIB = 512


def flag_changed(writer: int, step: int) -> FlagChanged:
    """Return the event that one writer appends at one step."""
    return FlagChanged(
        time_ns=TIME_NS, request=str(writer), sequence=0, step=step, flag="f", up=True, score=0.5
    )


def write_until_killed(directory: Path, report: int, writer: int) -> None:
    """Append and flush for ever; write the number of events that are durable to the pipe ``report``."""
    chance = random.Random(writer)
    step = 0
    with open_journal(directory, key=KEY, segment_bytes=16_384) as journal:
        while True:
            for _ in range(chance.randint(1, 60)):
                journal.append(flag_changed(writer, step))
                step += 1
            journal.flush()
            os.write(report, step.to_bytes(8, "big"))


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that writes; ``number`` is its request, ``pipe`` tells what it knows to be durable."""

    number: int
    process: int
    pipe: int

    @classmethod
    def start(cls, directory: Path, number: int) -> Writer:
        """Fork it."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                write_until_killed(directory, writer, number)
            finally:
                os._exit(70)
        os.close(writer)
        return cls(number, child, reader)

    def kill(self) -> int:
        """Kill it; return how many events it said were durable."""
        os.kill(self.process, signal.SIGKILL)
        _, status = os.waitpid(self.process, 0)
        with os.fdopen(self.pipe, "rb") as pipe:
            reports = pipe.read()
        if os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"the writer ended by itself, status {status}")
        return int.from_bytes(reports[-8:], "big")


def kill_among(directory: Path, kills: int, first: int, chance: random.Random) -> dict[int, int]:
    """Kill ``kills`` writers of one directory, of which up to eight write at once; what each committed."""
    started = 0
    running: list[Writer] = []
    committed: dict[int, int] = {}
    while len(committed) < kills:
        while started < kills and len(running) < WRITERS:
            running.append(Writer.start(directory, first + started))
            started += 1
        time.sleep(chance.uniform(0.0, 0.06))
        victim = running.pop(chance.randrange(len(running)))
        committed[victim.number] = victim.kill()
    return committed


def kill_runs(folder: Path, runs: int, chance: random.Random) -> dict[str, object]:
    """Kill ``runs`` writers at random moments; compare the logs with what the writers knew to be durable."""
    lost = unverified = early = committed_total = 0
    for first in range(0, runs, KILLS_PER_DIRECTORY):
        directory = folder / f"kills-{first}"
        committed = kill_among(directory, min(KILLS_PER_DIRECTORY, runs - first), first, chance)
        committed_total += sum(committed.values())
        early += sum(not count for count in committed.values())
        unverified += not verify(directory).ok
        steps: dict[str, list[int]] = {str(number): [] for number in committed}
        for stored in read(directory):
            if isinstance(stored.event, FlagChanged):
                steps[stored.event.request].append(stored.event.step)
        for number, count in committed.items():
            found = steps[str(number)]
            kept = len(found) if found == list(range(len(found))) else 0
            lost += max(count - kept, 0)
    return {
        "kills": runs,
        "writers_at_once": WRITERS,
        "killed_before_first_commit": early,
        "committed_records": committed_total,
        "lost_committed_records": lost,
        "logs_that_did_not_verify": unverified,
    }


def mounted(folder: Path, options: str) -> bool:
    """Mount a small disk in memory at ``folder``, or mount it anew; false where that is not allowed."""
    device = [] if "remount" in options else ["-t", "tmpfs", "tmpfs"]
    command = ["mount", "-o", options, *device, str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def full_disk(folder: Path) -> dict[str, object]:
    """Fill the log's disk while it is written, make room, and look whether all that was said is there."""
    folder.mkdir()
    if not mounted(folder, f"size={DISK_KIB}k"):
        return {"full_disk": "not tried: this process may not mount a disk"}
    try:
        directory = folder / "log"
        with open_journal(directory, key=KEY) as journal:
            journal.append(flag_changed(0, 0))
            journal.flush()
            filler = folder / "filler"
            with contextlib.suppress(OSError):  # as much as there is room for
                filler.write_bytes(b"x" * DISK_KIB * 1024)
            step = 1
            while not journal.failed and step < 20_000:
                journal.append(flag_changed(0, step))
                step += 1
                time.sleep(0.0002)
            noticed = journal.failed
            filler.unlink()
            until_s = time.monotonic() + 10.0
            while journal.failed and time.monotonic() < until_s:
                time.sleep(0.01)
            journal.flush()
            recovered = not journal.failed
        steps = [s.event.step for s in read(directory) if isinstance(s.event, FlagChanged)]
        whole = verify(directory).ok and steps == list(range(step))
        if not mounted(folder, "remount,ro"):
            return {
                "full_disk": _verdict(noticed, recovered, whole),
                "read_only": "not tried: it may not remount",
            }
        refused = ""
        try:
            open_journal(directory, key=KEY)
        except AuditError as error:
            refused = str(error)
        readable = verify(directory).ok
        return {
            "full_disk": _verdict(noticed, recovered, whole),
            "read_only": _verdict("Read-only" in refused, readable),
        }
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def _verdict(*held: bool) -> str:
    return "as promised" if all(held) else f"BROKEN {held}"


def tamper(log: Log, seed: int, count: int) -> dict[str, Counter[str]]:
    """Tamper ``count`` times; by tampering: how often tried, not found, not named, named at another line."""
    chance = random.Random(seed)
    results: dict[str, Counter[str]] = {tampering.name: Counter() for tampering in TAMPERINGS}
    results["untouched"] = Counter()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file, data in log.files.items():
            (directory / file).write_bytes(data)
        for trial in range(count):
            if trial % UNTOUCHED_EVERY == 0:
                results["untouched"]["tried"] += 1
                found = verify(directory, log.anchors, trusted=[log.trusted])
                results["untouched"]["false alarms"] += not found.ok
            tampering = chance.choice(TAMPERINGS)
            changed, place = tampering.make(log, chance)
            for file, data in changed.items():
                _put(directory / file, data)
            found = verify(directory, log.anchors, trusted=[log.trusted])
            tally = results[tampering.name]
            tally["tried"] += 1
            tally["not found"] += found.ok
            tally["not named"] += not {finding.kind for finding in found.findings} & tampering.named
            if place is not None and found.first is not None:
                tally["at another line"] += (found.first.file, found.first.line) != (place.file, place.line)
            for file in changed:
                _put(directory / file, log.files.get(file, b""))
    return results


def _put(path: Path, data: bytes) -> None:
    if data:
        path.write_bytes(data)
    else:
        path.unlink(missing_ok=True)


def tamper_runs(folder: Path, count: int, requests: int, seed: int, processes: int) -> dict[str, object]:
    """Tamper with one log in every way, in several processes with seeds of their own."""
    log = make_log(folder, requests)
    seeds = range(seed, seed + processes)
    shares = [len(range(place, count, processes)) for place in range(processes)]
    total: dict[str, Counter[str]] = {}
    with ProcessPoolExecutor(processes) as pool:
        for results in pool.map(partial(tamper, log), seeds, shares):
            for name, tally in results.items():
                total.setdefault(name, Counter()).update(tally)
    untouched = total.pop("untouched")
    return {
        "records_in_the_log": 2 * requests * len(request_events(0)),
        "tamperings": {name: tally["tried"] for name, tally in total.items()},
        "tamperings_tried": sum(tally["tried"] for tally in total.values()),
        "not_found": sum(tally["not found"] for tally in total.values()),
        "not_named": {name: tally["not named"] for name, tally in total.items() if tally["not named"]},
        "at_another_line": {
            name: tally["at another line"] for name, tally in total.items() if tally["at another line"]
        },
        "untouched_verified": untouched["tried"],
        "false_alarms": untouched["false alarms"],
    }


def main() -> int:
    """Run everything and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--tamperings", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=25, help="requests in each of the log's two streams")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that tamper at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--directory", type=Path, help="where to write (default: the system's temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as name:
        folder = Path(name)
        results = kill_runs(folder, args.kills, random.Random(args.seed))
        results |= full_disk(folder / "disk")
        results |= tamper_runs(folder / "log", args.tamperings, args.requests, args.seed, args.processes)
    broken = ("lost_committed_records", "logs_that_did_not_verify", "not_found", "not_named", "false_alarms")
    results["ok"] = not any(results[key] for key in broken) and "BROKEN" not in str(results)
    print(
        json.dumps(results) if args.json else "\n".join(f"{key}: {value}" for key, value in results.items())
    )
    return 0 if results["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
