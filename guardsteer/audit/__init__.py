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
from guardsteer.audit.strengths import Activation, activations_of, strengths_of
from guardsteer.audit.verify import verify

__all__ = [
    "SCHEMA_VERSION",
    "Activation",
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
    "activations_of",
    "format_trail",
    "open_journal",
    "parse_checkpoint",
    "read",
    "strengths_of",
    "trail",
    "verify",
]
