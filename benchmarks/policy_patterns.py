"""How often the patterns of the policies that ship match texts they are for, and texts they are not for.

    python -m benchmarks.policy_patterns [--data ../shared/data] [--json]

Patterns are words, not understanding: this says how many they miss and how often they cry wolf. The public
sets are read from a folder of the user's: bitext-intents, clinc150, soda-dialogues, surge-toxicity,
harmful-prompts, xstest and prompt-injection. The patterns were extended once, after what they had missed was
read in completions of two of the three models, in the validation part of the harmful prompts and in every
second injection. The latter two are left out here, the former are told apart. Shares are over different
texts, with Wilson intervals.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from guardsteer.assets import Catalog
from guardsteer.cases import Case, read_classifiers
from guardsteer.cases.replay import replay
from guardsteer.classify import load_classifier
from guardsteer.core.policy import ClassifierSpec, Policy
from guardsteer.errors import AssetError
from guardsteer.evaluate import Estimate, wilson
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.rules import compile_policy, load_policy

__all__ = ["Share", "main", "measure"]

_ROOT = Path(__file__).resolve().parents[1]
_DATA = _ROOT.parent / "shared" / "data"
_SODA_LINES = 3000
_MONEY = {"INVOICE", "PAYMENT", "REFUND", "CANCELLATION_FEE"}
_SEEN, _UNSEEN = ("llama2orig", "mistralguard"), ("mistralinstruct",)

Wanted = Literal["match", "no match"]
_ANSWERS: tuple[tuple[str, str, Wanted], ...] = (
    ("2_", "full refusals", "match"),
    ("1_", "full compliance", "no match"),
)


@dataclass(frozen=True, slots=True)
class Share:
    """The share of ``texts`` in which a classifier of a policy, or a flag, found something."""

    policy: str
    classifier: str
    texts: str
    wanted: Wanted
    share: Estimate


def measure(data: Path) -> Iterator[Share]:
    """Yield a share for each classifier and set of texts. Raises ``AssetError`` without the data."""
    if not data.is_dir():
        raise AssetError(f"{data}: no such folder; give the folder of the public sets with --data")
    for policy, classifier, name, wanted, texts in _sets(_Texts(data)):
        found = _finder(policy, classifier)
        different = list(dict.fromkeys(texts))
        hits = sum(map(found, different))
        yield Share(policy, classifier, name, wanted, wilson(hits, len(different)))


def _sets(texts: _Texts) -> Iterator[tuple[str, str, str, Wanted, list[str]]]:
    money, others = texts.bitext(_MONEY, inside=True), texts.bitext(_MONEY, inside=False)
    everyday, banal = texts.soda(), texts.clinc()
    yield "support", "money", "bitext: invoice, payment, refund, cancellation fee", "match", money
    yield "support", "money", "bitext: all other intents", "no match", others
    yield "support", "money", "everyday dialogue (SODA)", "no match", everyday
    yield "support", "device", "everyday dialogue (SODA)", "no match", everyday
    yield "support", "snaps", "answers in everyday dialogue (SODA)", "no match", texts.soda("Bot: ")
    kind, plain = _sides("empathy")
    yield "support", "snaps", "support answers (our recipe)", "no match", kind + plain
    yield "support", "snaps", "toxic comments (surge)", "match", texts.toxic()
    for policy in ("support", "safety"):
        for models, about in ((_UNSEEN, "Mistral instruct"), (_SEEN, "two models, seen")):
            for label, name, wanted in _ANSWERS:
                answers = texts.completions(label, models)
                yield policy, "refusal", f"{name} (xstest, {about})", wanted, answers
    yield "safety", "unsafe", "harmful prompts", "match", texts.harmful()
    yield "safety", "unsafe", "xstest, unsafe", "match", texts.xstest("unsafe")
    yield "safety", "unsafe", "xstest, safe look-alikes", "no match", texts.xstest("safe")
    yield "safety", "unsafe", "assistant commands (clinc150)", "no match", banal
    yield "safety", "unsafe", "bitext, all", "no match", money + others
    yield "safety", "jailbreak", "direct prompt injections", "match", texts.injections()
    yield "safety", "jailbreak", "assistant commands (clinc150)", "no match", banal
    yield "safety", "jailbreak", "bitext, all", "no match", money + others
    yield "safety", "jailbreak", "xstest, safe look-alikes", "no match", texts.xstest("safe")
    keeps, strays = _sides("faithfulness")
    yield "faithful", "silence", "faithful answers (our recipe)", "match", keeps
    yield "faithful", "silence", "unfaithful answers (our recipe)", "no match", strays
    steps, lookups = _questions("step-by-step"), _questions("empathy")
    yield "reasoning", "steps", "questions in steps (our recipe)", "match", steps
    yield "reasoning", "steps", "customers' messages (our recipe)", "no match", lookups
    formal, casual = _sides("formality")
    yield "formal", "slang", "casual answers (our recipe)", "match", casual
    yield "formal", "slang", "formal answers (our recipe)", "no match", formal


@dataclass(frozen=True, slots=True)
class _Texts:
    """The public sets, by what their texts are."""

    folder: Path

    def bitext(self, categories: set[str], *, inside: bool) -> list[str]:
        rows = self._table("bitext-intents/dev.csv")
        return [row["utterance"] for row in rows if (row["category"] in categories) == inside]

    def soda(self, speaker: str = "User: ") -> list[str]:
        lines = self._read("soda-dialogues/dialogues.txt").replace("<|endoftext|>", "").splitlines()
        return [line.removeprefix(speaker) for line in lines if line.startswith(speaker)][:_SODA_LINES]

    def toxic(self) -> list[str]:
        rows = self._table("surge-toxicity/toxicity_en.csv")
        return [row["text"] for row in rows if row["is_toxic"] == "Toxic"]

    def clinc(self) -> list[str]:
        return [text for text, _ in json.loads(self._read("clinc150/clinc150.json"))["val"]]

    def harmful(self) -> list[str]:
        return [row["instruction"] for row in json.loads(self._read("harmful-prompts/harmful_train.json"))]

    def xstest(self, label: str) -> list[str]:
        return [row["prompt"] for row in self._table("xstest/xstest_prompts.csv") if row["label"] == label]

    def completions(self, label: str, models: Sequence[str]) -> list[str]:
        rows = [row for name in models for row in self._table(f"xstest/completions_{name}.csv")]
        return [row["completion"] for row in rows if row["final_label"].startswith(label)]

    def injections(self) -> list[str]:
        rows = json.loads(self._read("prompt-injection/prompt_injection.json"))
        return [row["user_input"] for row in rows if row["injection_type"] == "direct"][1::2]

    def _table(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(self._read(name).splitlines(keepends=True)))

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise AssetError(
                f"{self.folder / name}: {error.strerror}; see the sets that this reads"
            ) from error


def _sides(recipe: str) -> tuple[list[str], list[str]]:
    pairs = load_recipe(_ROOT / "vectors" / recipe).pairs
    return [pair.positive.reply or "" for pair in pairs], [pair.negative.reply or "" for pair in pairs]


def _questions(recipe: str) -> list[str]:
    return [pair.messages[-1]["content"] for pair in load_recipe(_ROOT / "vectors" / recipe).pairs]


def _finder(policy: str, classifier: str) -> Callable[[str], bool]:
    """Return what says whether a classifier matches anywhere; an answer is read word by word."""
    folder = _ROOT / "policies" / policy
    loaded_policy = load_policy(folder)
    if classifier in {flag.name for flag in loaded_policy.flags}:
        return _flag_finder(loaded_policy, classifier)
    specs = {spec.name: spec for spec in loaded_policy.classifiers}
    spec: ClassifierSpec = specs[classifier]
    loaded: Any = load_classifier(spec, folder, Catalog())

    def found(text: str) -> bool:
        state = loaded.start()
        pieces = [text] if spec.on in ("user", "prompt") else text.replace(" ", "\0 ").split("\0")
        for piece in pieces:
            state.push(piece)
            if state.scores()[0] >= 1.0:
                return True
        return False

    return found


def _flag_finder(policy: Policy, flag: str) -> Callable[[str], bool]:
    """Return what says whether a flag goes up at any word of an answer."""
    classifiers = read_classifiers(policy, Catalog())
    outputs = {name: tuple(found.outputs) for name, found in classifiers.items()}
    program = compile_policy(policy, outputs, probes={}, alpha_to_strength={})

    def found(text: str) -> bool:
        pieces = tuple(text.replace(" ", "\0 ").split("\0"))
        case = Case("answer", 0, (), user="Hello", generation=pieces, steps=1 + len(pieces))
        return any(seen.flags[flag] for seen in replay(policy, program, case, classifiers))

    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policy_patterns", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=_DATA, help="folder of the public sets")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    given = parser.parse_args(arguments)
    try:
        shares = list(measure(given.data))
    except AssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(share) for share in shares], indent=1))
        return 0
    print(f"{'policy':10} {'classifier':11} {'texts':52} {'wanted':9} {'share':>7}  95 % interval      texts")
    for row in shares:
        found = row.share
        interval = f"{found.low:6.1%} to {found.high:6.1%}"
        name = f"{row.policy:10} {row.classifier:11} {row.texts:52} {row.wanted:9}"
        print(f"{name} {found.value:7.1%}  {interval}  {found.rows:6}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
