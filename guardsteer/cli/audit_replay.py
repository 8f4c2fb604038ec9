"""``guardsteer audit replay``: generate a request again from its record; are the tokens the same?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype
from guardsteer.errors import ReplayError

if TYPE_CHECKING:
    from guardsteer.evaluate.replay import Changes, Given, Replay, Stage

__all__ = ["register", "run"]

_PROMPT_KEYS = ("prompt", "messages", "tokens")


def register(actions: frame.Subparsers) -> None:
    """Add ``replay``."""
    parser = frame.add_command(
        actions,
        "replay",
        "generate a request again from its record; status 1 where tokens or decisions are not the same",
        "guardsteer audit replay audit/ --request r-17 --model ./model --keys /elsewhere/keys --without warm",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the folder that the log was written to")
    parser.add_argument("--request", required=True, metavar="ID", help="the request's id")
    parser.add_argument(
        "--sequence", type=int, default=0, metavar="N", help="which of its returned sequences (default: 0)"
    )
    parser.add_argument("--model", required=True, metavar="PATH", help="folder or hub id of the model")
    add_dtype(parser)
    parser.add_argument(
        "--assets",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="look here first for classifiers and vectors, as at the time",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch; default: as recorded")
    _add_texts(parser)
    _add_ways(parser)
    _add_questions(parser)


def _add_texts(parser: argparse.ArgumentParser) -> None:
    texts = parser.add_argument_group("what was asked and answered (the log has digests of it alone)")
    asked = texts.add_mutually_exclusive_group()
    asked.add_argument("--prompt", metavar="TEXT", help="the prompt")
    asked.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="a JSON object on each line with prompt (text), messages (a chat) or tokens (ids), as run reads "
        "it; the request's own is found by its digest, and those of the other rows of its batch",
    )
    texts.add_argument(
        "--keys",
        type=Path,
        metavar="KEYS",
        help="read the encrypted text that was kept beside the log; the folder of the subjects' keys: what "
        "was passed as audit_text=KEYS or --audit-text KEYS",
    )
    texts.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the answer that was given (its text, or a JSON list of token ids), to tell where tokens part",
    )
    texts.add_argument(
        "--key", type=Path, metavar="FILE", help="the key of the digests, where it is not where the log was"
    )


def _add_ways(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_argument_group("how it is replayed")
    ways.add_argument(
        "--as-recorded",
        action="store_true",
        help="take strengths, halts and revisions from the log, step by step; no classifier is needed",
    )
    ways.add_argument(
        "--alone", action="store_true", help="without the other rows of its batch, or stand-ins for them"
    )
    ways.add_argument(
        "--accept-differences",
        action="store_true",
        help="generate though model, vectors or classifiers are not those that were recorded",
    )
    ways.add_argument(
        "--home",
        type=Path,
        metavar="PATH",
        help="where the recorded policy lay (its file or folder), for what it names by a path",
    )


def _add_questions(parser: argparse.ArgumentParser) -> None:
    questions = parser.add_argument_group("what would have been")
    questions.add_argument(
        "--policy", metavar="PATH", help="would this policy have decided the same on that text?"
    )
    questions.add_argument(
        "--without", action="append", default=[], metavar="RULE", help="without this rule; may be repeated"
    )
    questions.add_argument(
        "--strength",
        action="append",
        default=[],
        type=_strength,
        metavar="VECTOR=X",
        help="with this strength wherever a rule uses the vector, 0 for none; may be repeated",
    )
    questions.add_argument("--bare", action="store_true", help="without the guard")


def _strength(text: str) -> tuple[str, float]:
    vector, equals, number = text.rpartition("=")
    try:
        return vector, float(number if equals and vector else "?")
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected VECTOR=X such as empathy=0") from None


def run(args: argparse.Namespace) -> int:
    """Replay the request; 1 where tokens or decisions are not the same."""
    from guardsteer.audit import read
    from guardsteer.evaluate.replay import read_log, replay
    from guardsteer.evaluate.replay.telling import format_replay

    prompts = list(_prompts(args))
    output = None if args.output is None else _output(args.output)
    recorded = read_log(read(args.directory), args.request).of(args.request, args.sequence)
    if args.keys is not None:
        kept, said = _kept(args, [each.request for each in recorded.call])
        prompts += kept
        output = said if output is None else output
    stage = _stage(args, recorded.attached.threads)
    found = replay(
        recorded,
        stage,
        prompts,
        output=output,
        as_recorded=args.as_recorded,
        alone=args.alone,
        accept=args.accept_differences,
        home=_home(args),
        today=args.policy,
        changes=_changes(args),
    )
    if args.json:
        frame.emit(_as_json(found))
    else:
        print(format_replay(found))
    return 0 if found.same and found.decisions.same else 1


def _prompts(args: argparse.Namespace) -> Iterator[Given]:
    if args.prompt is not None:
        yield args.prompt
    if args.prompts is None:
        return
    problems: list[str] = []
    for number, line in enumerate(_text(args.prompts).splitlines(), start=1):
        if not line.strip():
            continue
        given = _given(line)
        if given is None:
            problems.append(
                f"{args.prompts}:{number}: expected a JSON object with one of {', '.join(_PROMPT_KEYS)}"
            )
        else:
            yield given
    if problems:
        raise ReplayError("\n".join(problems))


def _kept(
    args: argparse.Namespace, requests: Sequence[str]
) -> tuple[list[tuple[int, ...]], tuple[int, ...] | None]:
    """Return the prompts of a call that were kept, and the request's output; tells what cannot be read."""
    from guardsteer.audit.text import SubjectKeys, read_texts

    if not args.keys.is_dir():
        raise ReplayError(f"{args.keys}: no such folder; give the folder of the subjects' keys")
    keys = SubjectKeys(args.keys)
    prompts, output = [], None
    for request in requests:
        found = read_texts(args.directory, keys, request)
        kept = [("prompt", found.prompt)]
        if request == args.request:
            kept.append(("output", found.outputs.get(args.sequence)))
        for part, text in kept:
            problem = "it was not kept" if text is None else text.problem
            if text is None or problem:
                print(f"guardsteer: the {part} of {request!r} cannot be read: {problem}", file=sys.stderr)
            elif part == "prompt":
                prompts.append(text.tokens)
            else:
                output = text.tokens
    return prompts, output


def _given(line: str) -> Given | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    found = [value[key] for key in _PROMPT_KEYS if key in value] if isinstance(value, dict) else []
    usable = len(found) == 1 and isinstance(found[0], str | list)
    return found[0] if usable else None


def _output(path: Path) -> str | Sequence[int]:
    text = _text(path)
    try:
        value = json.loads(text)
    except ValueError:
        return text
    ids = isinstance(value, list) and all(type(item) is int for item in value)
    return value if ids else text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ReplayError(f"{path}: cannot be read: {reason}") from error


def _stage(args: argparse.Namespace, threads: int) -> Stage:
    import torch

    from guardsteer.cli.models import load_model
    from guardsteer.evaluate.replay import Stage

    torch.set_num_threads(args.threads or threads or torch.get_num_threads())
    frame.progress(f"loading {args.model}")
    model, tokenizer = load_model(args.model, args.dtype)
    return Stage(model, tokenizer, _key(args), assets=args.assets)


def _key(args: argparse.Namespace) -> bytes:
    """Return the key of the digests; unlike for writing, none is made where there is none."""
    from guardsteer.audit.keys import KEY_FILE_NAME, KEY_VARIABLE, load_key

    if args.key is not None:
        return load_key(args.directory, _text(args.key).strip().encode())
    if not os.environ.get(KEY_VARIABLE) and not (args.directory / KEY_FILE_NAME).is_file():
        raise ReplayError(
            f"{args.directory / KEY_FILE_NAME}: the key of the log's digests is not there, and without it no "
            f"prompt can be told from another: give --key FILE, or name the file in {KEY_VARIABLE}"
        )
    return load_key(args.directory)


def _home(args: argparse.Namespace) -> Path:
    home = Path(args.home or args.policy or "")
    return home / "policy.yaml" if home.is_dir() else home


def _changes(args: argparse.Namespace) -> Changes:
    from guardsteer.evaluate.replay import Changes

    return Changes(without=tuple(args.without), strengths=dict(args.strength), bare=args.bare)


def _as_json(found: Replay) -> dict[str, Any]:
    return {"ok": found.same and found.decisions.same, **asdict(found)}
