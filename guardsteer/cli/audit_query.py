"""``guardsteer audit query``: ready-made questions to an audit, and SQL."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from guardsteer.cli import frame
from guardsteer.cli.audit_filters import add_filters, tell_damage, window_of
from guardsteer.errors import AuditError

__all__ = ["register", "run"]

_LARGE_BYTES = 32 * 2**20


def register(actions: frame.Subparsers) -> None:
    """Add ``query``."""
    parser = frame.add_command(
        actions,
        "query",
        "answer questions about what was recorded; status 1 if lines were altered or no request is found",
        "guardsteer audit query index/ activations --by tenant,rule --since 7d",
    )
    parser.usage = "guardsteer audit query DIR [DIR ...] [QUESTION] [options]"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="DIR ... QUESTION",
        help="folders of logs and of indices that 'audit compact' made, then a question; without one, all "
        "questions are listed",
    )
    parser.add_argument("--request", metavar="ID", help="what was recorded of this request")
    parser.add_argument("--by", metavar="COLUMNS", help="tell it by these columns, with commas between")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N rows, 0: all")
    parser.add_argument(
        "--sql",
        metavar="SELECT",
        help="a question of your own to the tables records, requests, activations, flags, rules, streams",
    )
    parser.add_argument("--csv", action="store_true", help="print CSV")
    add_filters(parser)


def run(args: argparse.Namespace) -> int:
    """Answer; 1 when lines of the log were altered, or the request is not there."""
    from guardsteer.audit.index import format_table, json_rows, open_tables, write_csv

    if args.limit is not None and args.limit < 0:
        raise AuditError(f"--limit {args.limit}: expected 0 or more")
    if args.csv and args.json:
        raise AuditError("--csv or --json, not both: standard output is one of them")
    named, query = _understood(args)
    window = window_of(args)
    if not query:
        _list_questions(as_json=args.json)
        return 0
    if sum(path.stat().st_size for folder in named for path in Path(folder).glob("*.jsonl")) > _LARGE_BYTES:
        frame.progress("reading the log; an index by 'guardsteer audit compact' answers at once")
    with open_tables(named, window) as tables:
        answer = tables.ask(query)
        if args.json:
            rows = list(json_rows(answer))
            print(f'{{"columns": {json.dumps(answer.columns)}, "rows": [{", ".join(rows)}]}}')
            found = bool(rows)
        elif args.csv:
            found = write_csv(answer, sys.stdout) > 0
        else:
            text = format_table(answer)
            found = bool(text)
            print(text or "nothing")
        damage = tell_damage(tables, Path(named[0]))
    return 1 if damage or (args.request is not None and not found) else 0


def _understood(args: argparse.Namespace) -> tuple[list[str], str]:
    """Return the folders and the query that the words ask for, "" for none; raises ``AuditError``."""
    from guardsteer.audit.index import QUESTIONS, query_of

    words: list[str] = list(args.words)
    asked = words.pop() if words[-1] in QUESTIONS else ""
    if args.sql is not None:
        if asked or args.request is not None or args.by is not None or args.limit is not None:
            raise AuditError(
                "--sql is the question itself: no other question, --request, --by or --limit beside it"
            )
        return _folders(words), args.sql
    if args.request is not None and not asked:
        asked = "request"
    if not asked and len(words) > 1 and not Path(words[-1]).is_dir():
        raise AuditError(
            f"{words[-1]!r} is neither a folder nor a question; expected one of {', '.join(QUESTIONS)}"
        )
    if not asked:
        return _folders(words), ""
    question = QUESTIONS[asked]
    if question.whole and (args.tenant is not None or args.rule is not None):
        raise AuditError(
            f"question {asked!r} is about the log itself: --tenant and --rule have no part in it"
        )
    by = [column.strip() for column in args.by.split(",")] if args.by is not None else []
    return _folders(words), query_of(asked, by, request=args.request or "", limit=args.limit)


def _folders(words: list[str]) -> list[str]:
    """Return the folders that words name; raises ``AuditError`` where there is none."""
    if not words:
        raise AuditError("name the folder of a log or of an index before the question")
    for word in words:
        if not Path(word).is_dir():
            raise AuditError(f"{word}: no such folder; name folders of logs or of indices, then the question")
    return words


def _list_questions(*, as_json: bool) -> None:
    from guardsteer.audit.index import QUESTIONS

    if as_json:
        frame.emit({"questions": {name: {"tells": q.tells, "by": q.by} for name, q in QUESTIONS.items()}})
        return
    width = max(map(len, QUESTIONS))
    for name, question in QUESTIONS.items():
        by = f" (--by {','.join(question.by)})" if question.by else ""
        print(f"{name:<{width}}  {question.tells}{by}")
