"""The audit as tables: an index of Parquet files, questions to it and to the log itself. No torch.

    compact(["audit/"], "index/")
    with open_tables(["index/"], Window(tenant="acme")) as tables:
        answer = tables.ask(query_of("activations"))

DuckDB and Arrow are loaded at first use; ``pip install "guardsteer[query]"`` brings them.
"""

from guardsteer.audit.index.compact import Compaction, Covered, compact
from guardsteer.audit.index.export import EXPORTS, FORMATS, export
from guardsteer.audit.index.formats import format_table, json_rows, write_csv
from guardsteer.audit.index.questions import QUESTIONS, Question, query_of
from guardsteer.audit.index.source import Answer, Tables, open_tables
from guardsteer.audit.index.tables import VIEWS, Window

__all__ = [
    "EXPORTS",
    "FORMATS",
    "QUESTIONS",
    "VIEWS",
    "Answer",
    "Compaction",
    "Covered",
    "Question",
    "Tables",
    "Window",
    "compact",
    "export",
    "format_table",
    "json_rows",
    "open_tables",
    "query_of",
    "write_csv",
]
