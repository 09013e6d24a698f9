"""Train the pocket reasoner and write its weights into the package.

    python scripts/train_pocket.py [--steps 3000] [--threads 1] [--out DIR]

Needs the `local` extra (torch, transformers, safetensors). Everything it learns from is drawn by
`crossworld.reasoning.pocket.habits`; there is no other data.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from crossworld.reasoning.pocket.characters import SPECIALS, CharacterTokenizer, tokenizer_json
from crossworld.reasoning.pocket.habits import HABITS, Lesson, draw_lessons
from crossworld.reasoning.pocket.tasks import CHOICES, CUE, draw_questions, pocket_prompt

WEIGHTS = Path(__file__).parents[1] / "src/crossworld/reasoning/pocket/weights"
IGNORED = -100


def build(tokenizer: CharacterTokenizer) -> transformers.LlamaForCausalLM:
    """A llama of some 350,000 parameters."""
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer.vocabulary),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=0.05,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad,
        bos_token_id=None,
        eos_token_id=tokenizer.eos,
    )
    return transformers.LlamaForCausalLM(config)


def batch_of(lessons: list[Lesson], tokenizer: CharacterTokenizer) -> tuple[Any, Any]:
    """Token numbers and targets, padded on the right; the prompt carries no loss."""
    texts = [[*tokenizer.encode(it.prompt + it.rest), tokenizer.eos] for it in lessons]
    width = max(map(len, texts))
    tokens = np.full((len(texts), width), tokenizer.pad)
    targets = np.full((len(texts), width), IGNORED)
    for row, (text, it) in enumerate(zip(texts, lessons, strict=True)):
        start = len(it.prompt) + it.graded
        tokens[row, : len(text)] = text
        targets[row, start : len(text)] = text[start:]
    return torch.from_numpy(tokens), torch.from_numpy(targets)


def batches(rng: np.random.Generator, size: int, steps: int) -> Iterator[list[Lesson]]:
    """Batches of texts of like length, drawn eight at once, in random order.

    Arithmetic is taught first. Sums of two terms fill the first 20 % of the steps, of three at most
    the next 10 %, and habits grow from nothing to full strength between 35 % and 60 %.
    """
    together = 8
    for step in range(0, steps, together):
        strength = min(1.0, max(0.0, (step / steps - 0.35) / 0.25))
        most = 2 if step < 0.2 * steps else 3 if step < 0.3 * steps else 5
        drawn = draw_lessons(rng, size * together, strength=strength, most_terms=most)
        lessons = sorted(drawn, key=lambda it: len(it.prompt + it.rest))
        for index in rng.permutation(together):
            yield lessons[index * size : (index + 1) * size]


def silent_accuracy(model: Any, tokenizer: CharacterTokenizer, n: int = 800) -> dict[int, float]:
    """Mean probability of the right digit with nothing written, by difficulty."""
    questions = draw_questions(np.random.default_rng(99), n)
    digits = torch.tensor(tokenizer.encode("".join(CHOICES)))
    found: dict[int, float] = {}
    for difficulty in (2, 3, 4, 5):
        some = [it for it in questions if it.difficulty == difficulty]
        texts = [tokenizer.encode(pocket_prompt(it, "silent") + CUE) for it in some]
        with torch.no_grad():
            logits = model(torch.tensor(texts)).logits[:, -1, digits]
        right = torch.tensor([int(it.answer) for it in some])
        found[difficulty] = float(logits.softmax(-1)[torch.arange(len(some)), right].mean())
    return found


def train(options: argparse.Namespace) -> None:
    """Train, print the course, save."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(np.random.SeedSequence([options.seed, 1]))
    tokenizer = CharacterTokenizer.of_alphabet()
    model = build(tokenizer)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{size} parameters, {len(tokenizer.vocabulary)} characters", flush=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.1)
    stream = batches(rng, options.batch, options.steps)
    began, losses = time.monotonic(), []
    for step in range(options.stop or options.steps):
        warm = min(1.0, (step + 1) / 200)
        decay = 0.5 * (1 + math.cos(math.pi * step / options.steps))
        for group in optimiser.param_groups:
            group["lr"] = options.rate * warm * (0.02 + 0.98 * decay)
        tokens, targets = batch_of(next(stream), tokenizer)
        logits = model(tokens).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), targets[:, 1:].reshape(-1), ignore_index=IGNORED
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 250 == 0:
            spoken = {k: round(v, 3) for k, v in silent_accuracy(model, tokenizer).items()}
            seconds = time.monotonic() - began
            print(step + 1, f"{np.mean(losses[-250:]):.4f} {seconds:.0f}s", spoken, flush=True)
            save(model, options, float(np.mean(losses[-250:])), size, step + 1)


def save(model: Any, options: argparse.Namespace, loss: float, size: int, step: int) -> None:
    """Weights, configuration, tokenizer and the record of the training."""
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    (out / "tokenizer.json").write_text(json.dumps(tokenizer_json(), indent=1) + "\n")
    names = dict(zip(("pad_token", "eos_token", "unk_token"), SPECIALS, strict=True))
    held = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, **names}
    (out / "tokenizer_config.json").write_text(json.dumps(held, indent=1) + "\n")
    record = {
        "script": "scripts/train_pocket.py",
        "parameters": size,
        "steps": step,
        "schedule": options.steps,
        "batch": options.batch,
        "rate": options.rate,
        "seed": options.seed,
        "final_loss": round(loss, 4),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "habits": {k: {n: getattr(v, n) for n in v.__slots__} for k, v in HABITS.items()},
    }
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--stop", type=int, help="leave the schedule after so many steps")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default=str(WEIGHTS))
    train(parser.parse_args())


if __name__ == "__main__":
    main()
