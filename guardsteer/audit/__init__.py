"""Tamper-evident audit: a journal that chains records into segments, verification and reading. No torch."""

from guardsteer.audit.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from guardsteer.audit.findings import Finding, Note, StreamSummary, Verification
from guardsteer.audit.journal import Journal, open_journal
from guardsteer.audit.reader import read, trail
from guardsteer.audit.records import (
    SCHEMA_VERSION,
    Record,
    RecordsDropped,
    SegmentBegan,
    StoredEvent,
    StreamClosed,
)
from guardsteer.audit.show import format_trail
from guardsteer.audit.verify import verify

__all__ = [
    "SCHEMA_VERSION",
    "Checkpoint",
    "Finding",
    "Journal",
    "Note",
    "Record",
    "RecordsDropped",
    "SegmentBegan",
    "SignedCheckpoint",
    "StoredEvent",
    "StreamClosed",
    "StreamSummary",
    "Verification",
    "format_trail",
    "open_journal",
    "parse_checkpoint",
    "read",
    "trail",
    "verify",
]
