"""Train the demo model: ``python -m guardsteer.demo.train --out DIR``.

One command makes the corpus, the tokenizer and the weights from a seed. It keeps a checkpoint beside the
output and goes on from there when it is started again. The order of batches is a function of seed and step,
so a resumed run sees the same data as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from guardsteer.demo.corpus.tickets import Ticket, draw_tickets
from guardsteer.demo.tokenizer import render_prompt, train_tokenizer
from guardsteer.errors import AssetError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["Recipe", "main", "train"]

MAX_POSITIONS = 512


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the trained model."""

    seed: int = 2
    tickets: int = 60_000
    steps: int = 1_500
    batch_rows: int = 64
    vocab_size: int = 1_536
    width: int = 160
    mlp_width: int = 448
    blocks: int = 6
    heads: int = 5
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    context_weight: float = 0.1


@dataclass(frozen=True, slots=True)
class Example:
    """A dialogue in tokens, with the weight of each token in the loss."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def encode_ticket(ticket: Ticket, tokenizer: PreTrainedTokenizerFast, context_weight: float) -> Example:
    """Return the dialogue with its reply: weight 1 on the last reply, ``context_weight`` on what was asked.

    Earlier replies weigh nothing: they set the style, and no earlier cue announces them.
    """
    ids = tokenizer(render_prompt(tokenizer, ticket.messages), add_special_tokens=False)["input_ids"]
    reply = tokenizer(ticket.reply, add_special_tokens=False)["input_ids"]
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    weights, current = [], context_weight
    for token in ids:
        current = 0.0 if token == assistant else current
        weights.append(current)
        current = context_weight if token == tokenizer.eos_token_id else current
    return Example((*ids, *reply, tokenizer.eos_token_id), (*weights, *[1.0] * (len(reply) + 1)))


def batch_order(examples: Sequence[Example], recipe: Recipe, epoch: int) -> list[list[int]]:
    """Return the batches of one epoch as indices: rows of like length together, batches shuffled."""
    rng = random.Random(f"{recipe.seed}:{epoch}")
    order = list(range(len(examples)))
    rng.shuffle(order)
    pool = recipe.batch_rows * 50
    batches = []
    for start in range(0, len(order), pool):
        chunk = sorted(order[start : start + pool], key=lambda i: len(examples[i].ids))
        batches += [chunk[i : i + recipe.batch_rows] for i in range(0, len(chunk), recipe.batch_rows)]
    batches = [batch for batch in batches if len(batch) == recipe.batch_rows]
    rng.shuffle(batches)
    return batches


def batch_loss(model: LlamaForCausalLM, rows: Sequence[Example], pad_id: int) -> torch.Tensor:
    """Return the weighted mean cross-entropy of ``rows`` (padded on the right), in nats a token."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    weights = torch.zeros(len(rows), longest)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        weights[i, : len(row.ids)] = torch.tensor(row.weights)
    logits = model(input_ids=ids).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    flat = weights[:, 1:].flatten()
    return (losses * flat).sum() / flat.sum()


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained model; its weights depend on the recipe's seed alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp_width,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def rate_at(step: int, recipe: Recipe) -> float:
    """Return the learning rate: a linear rise over the first 4 %, then a cosine down to a fiftieth."""
    warm = max(1, recipe.steps // 25)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    progress = (step - warm) / max(1, recipe.steps - warm)
    return recipe.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


class Checkpoint:
    """The state of a training run on disk, as safetensors and JSON; replaced as a whole."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = recipe

    def save(self, step: int, model: LlamaForCausalLM, optimizer: torch.optim.AdamW) -> None:
        """Write model, optimizer moments and ``step`` (the number of steps done)."""
        fresh = self.folder.with_name(self.folder.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        tensors = {f"model.{name}": value.detach().clone() for name, value in model.named_parameters()}
        for name, value in model.named_parameters():
            for part in ("exp_avg", "exp_avg_sq"):
                tensors[f"{part}.{name}"] = optimizer.state[value][part].clone()
        save_file(tensors, fresh / "state.safetensors")
        (fresh / "state.json").write_text(json.dumps({"step": step, "recipe": asdict(self.recipe)}))
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)

    def load(self, model: LlamaForCausalLM, optimizer: torch.optim.AdamW) -> int:
        """Restore the state, if there is one, and return the number of steps done.

        Raises ``AssetError`` if the checkpoint was made by another recipe.
        """
        if not (self.folder / "state.json").exists():
            return 0
        state = json.loads((self.folder / "state.json").read_text())
        if state["recipe"] != asdict(self.recipe):
            raise AssetError(
                f"{self.folder}: this checkpoint was made by the recipe {state['recipe']}, and the run at "
                f"hand has {asdict(self.recipe)}; delete the folder, or use the same options"
            )
        tensors = load_file(self.folder / "state.safetensors")
        step = int(state["step"])
        for name, value in model.named_parameters():
            value.data.copy_(tensors[f"model.{name}"])
            moments = {part: tensors[f"{part}.{name}"] for part in ("exp_avg", "exp_avg_sq")}
            optimizer.state[value] = {"step": torch.tensor(float(step)), **moments}
        return step


def prepare(recipe: Recipe) -> tuple[PreTrainedTokenizerFast, list[Example]]:
    """Return the tokenizer and the encoded corpus of ``recipe``."""
    tickets = draw_tickets(recipe.tickets, recipe.seed)
    texts = (text for t in tickets[:12_000] for text in (*(m["content"] for m in t.messages), t.reply))
    tokenizer = train_tokenizer(texts, recipe.vocab_size, MAX_POSITIONS)
    return tokenizer, [encode_ticket(ticket, tokenizer, recipe.context_weight) for ticket in tickets]


def _optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))


def train(recipe: Recipe, out: Path, *, checkpoint_every: int = 100, stop_after: int | None = None) -> Path:
    """Train by ``recipe`` and save the model in fp16, its tokenizer and its recipe below ``out``.

    A checkpoint beside ``out`` is taken up if there is one. With ``stop_after`` the run ends after that many
    steps in all, and saves nothing but its checkpoints.
    """
    tokenizer, examples = prepare(recipe)
    model = build_model(recipe, tokenizer)
    optimizer = _optimizer(model, recipe)
    checkpoint = Checkpoint(out.with_name(out.name + ".checkpoint"), recipe)
    done = checkpoint.load(model, optimizer)
    model.train()
    epoch, batches = -1, [[0]]
    per_epoch = len(batch_order(examples, recipe, 0))
    started = time.perf_counter()
    last = recipe.steps if stop_after is None else min(stop_after, recipe.steps)
    for step in range(done, last):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            batches = batch_order(examples, recipe, epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, recipe)
        rows = [examples[i] for i in batches[step % per_epoch]]
        loss = batch_loss(model, rows, tokenizer.pad_token_id)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 0 or step + 1 == recipe.steps:
            elapsed_s = time.perf_counter() - started
            report = f"step {step} loss {loss.item():.4f} elapsed {elapsed_s:.0f} s"
            print(report, file=sys.stderr, flush=True)
        if (step + 1) % checkpoint_every == 0:
            checkpoint.save(step + 1, model, optimizer)
    if last == recipe.steps:
        save_model(model, tokenizer, recipe, out)
    return out


def save_model(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, out: Path
) -> None:
    """Write weights in fp16, config, generation config, tokenizer and recipe below ``out``."""
    from transformers import GenerationConfig

    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        max_new_tokens=96,
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    usual = Recipe()
    parser = argparse.ArgumentParser(
        prog="python -m guardsteer.demo.train",
        description="Train the demo model from its generated corpus.",
        epilog="example: python -m guardsteer.demo.train --out build/demo-model",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--seed", type=int, default=usual.seed, help="seed of corpus, weights and order")
    parser.add_argument("--steps", type=int, default=usual.steps, help="optimizer steps")
    parser.add_argument("--tickets", type=int, default=usual.tickets, help="dialogues to generate")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    recipe = Recipe(seed=options.seed, steps=options.steps, tickets=options.tickets)
    print(train(recipe, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
