"""``guardsteer run``: generate with a model under a policy; one prompt, a file of them, or a chat."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype
from guardsteer.errors import RequestError

if TYPE_CHECKING:
    from guardsteer.runtime import Guard

__all__ = ["register", "run"]

_LEAVE = {"/exit", "/quit"}


def register(subparsers: frame.Subparsers) -> None:
    """Add ``run``."""
    parser = frame.add_command(
        subparsers,
        "run",
        "generate with a model of yours under a policy",
        "guardsteer run --model ./model --policy ./policy.yaml --prompt 'Where is my refund?' --audit audit/",
    )
    parser.add_argument("--model", required=True, metavar="PATH", help="folder or hub id of a causal LM")
    parser.add_argument(
        "--policy", required=True, metavar="PATH", help="policy file, folder with policy.yaml, or a name"
    )
    parser.add_argument(
        "--assets",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="look here first for classifiers, policies and vectors, such as in what prepare wrote",
    )
    add_dtype(parser)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--prompt", metavar="TEXT", help="one prompt; without it and --prompts: a chat")
    asked.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="a JSON object on each line: prompt (text) or messages (a chat); also request, context",
    )
    parser.add_argument("--audit", type=Path, metavar="DIR", help="write the audit log below DIR")
    parser.add_argument(
        "--audit-text",
        type=Path,
        metavar="KEYS",
        help="keep the text too, encrypted; KEYS is the folder of the subjects' keys, outside of the log's",
    )
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="default: 256")
    parser.add_argument("--seed", type=int, metavar="N", help="sample with this seed; without it: greedy")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch; default: torch's own")


def run(args: argparse.Namespace) -> int:
    """Generate for every prompt; streams to the terminal, or prints a JSON line for each."""
    requests = _requests(args)
    import guardsteer
    from guardsteer.cli.models import load_model

    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    frame.progress(f"loading {args.model}")
    model, tokenizer = load_model(args.model, args.dtype)

    with guardsteer.wrap(
        model,
        tokenizer,
        policy=args.policy,
        audit=args.audit,
        audit_text=args.audit_text,
        assets=args.assets,
    ) as guard:
        if requests is None:
            return _chat(guard, tokenizer, args)
        for request in requests:
            _answer(guard, tokenizer, request, args)
    return 0


def _requests(args: argparse.Namespace) -> list[dict[str, Any]] | None:
    if args.prompt is not None:
        return [{"prompt": args.prompt}]
    return None if args.prompts is None else list(_read(args.prompts))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the requests of a file; ``RequestError`` names every bad line at once."""
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            request = json.loads(line)
        except ValueError as error:
            problems.append(f"{path}:{number}: not JSON: {error}")
            continue
        problem = _problem(request)
        if problem:
            problems.append(f"{path}:{number}: {problem}")
        else:
            found.append(request)
    if problems:
        raise RequestError("\n".join(problems))
    if not found:
        raise RequestError(f"{path}: holds no prompt; expected a JSON object on each line")
    yield from found


def _problem(request: Any) -> str:
    if not isinstance(request, dict):
        return f"got {type(request).__name__}, expected an object with prompt or messages"
    unknown = set(request) - {"prompt", "messages", "request", "context"}
    if unknown:
        return f"unknown keys {sorted(unknown)}; expected prompt or messages, request, context"
    if isinstance(request.get("prompt"), str) == isinstance(request.get("messages"), list):
        return "expected either prompt (a string) or messages (a list)"
    if not isinstance(request.get("context", {}), dict):
        return f"context: got {type(request['context']).__name__}, expected an object"
    return ""


def _inputs(guard: Guard, tokenizer: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of ``generate``; a prompt is a user turn where the model can chat."""
    messages = request.get("messages")
    if messages is None and tokenizer.chat_template:
        messages = [{"role": "user", "content": request["prompt"]}]
    if messages is not None:
        inputs = guard.chat(messages)
    else:
        inputs = {**tokenizer(request["prompt"], return_tensors="pt"), "guard": [{}]}
    inputs["guard"][0].update(request.get("context", {}))
    if "request" in request:
        inputs["guard"][0]["request"] = request["request"]
    return inputs


def _answer(guard: Guard, tokenizer: Any, request: dict[str, Any], args: argparse.Namespace) -> str:
    """Generate for one request, show it, and return the answer."""
    inputs = _inputs(guard, tokenizer, request)
    if args.json:
        streamer = None
    else:
        from transformers import TextStreamer

        streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    import uuid

    name = inputs["guard"][0].setdefault("request", uuid.uuid4().hex)
    if args.seed is not None:
        import torch

        torch.manual_seed(args.seed)
    ids = guard.generate(
        **inputs,
        max_new_tokens=args.max_new_tokens,
        do_sample=args.seed is not None,
        streamer=streamer,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
    written = ids[0, inputs["input_ids"].shape[1] :]
    answer: str = tokenizer.decode(written, skip_special_tokens=True)
    if args.json:
        frame.emit({"request": name, "answer": answer, "tokens": len(written)})
    return answer


def _chat(guard: Guard, tokenizer: Any, args: argparse.Namespace) -> int:
    """Talk until the end of input; what was said so far stays in the chat."""
    if not tokenizer.chat_template:
        raise RequestError("the model has no chat template, so it cannot chat; give --prompt or --prompts")
    if sys.stdin.isatty():
        print("Type a message; end with Ctrl-D or /exit.", file=sys.stderr)
    messages: list[dict[str, str]] = []
    while True:
        try:
            said = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return 0
        if said.strip() in _LEAVE:
            return 0
        if said.strip():
            messages.append({"role": "user", "content": said})
            answer = _answer(guard, tokenizer, {"messages": messages}, args)
            messages.append({"role": "assistant", "content": answer})
