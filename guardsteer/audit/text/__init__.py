"""Encrypted text beside the log: kept under a key for each subject, forgotten by destroying it."""

from guardsteer.audit.text.reading import KeptText, RequestTexts, forget, read_texts, texts_of
from guardsteer.audit.text.store import Kept, TextStore, check_apart, open_text_store
from guardsteer.audit.text.subject_keys import SubjectKeys

__all__ = [
    "Kept",
    "KeptText",
    "RequestTexts",
    "SubjectKeys",
    "TextStore",
    "check_apart",
    "forget",
    "open_text_store",
    "read_texts",
    "texts_of",
]
