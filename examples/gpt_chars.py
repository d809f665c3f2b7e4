# SPDX-License-Identifier: BSD-3-Clause
"""Train a small GPT on the characters of a text and let it write.

python gpt_chars.py                      # on the documentation of Python's own modules
python gpt_chars.py --data shakespeare.txt --steps 2000
"""

import argparse
import inspect
import time
from pathlib import Path

import numpy as np

import nervure as nv
from nervure import optim
from nervure.models import GPT
from nervure.nn import functional as F
from nervure.nn.utils import clip_grad_norm_
from nervure.progress import ProgressBar


def default_text() -> str:
    """Documentation strings that every Python installation has."""
    import argparse
    import collections
    import datetime
    import decimal
    import pathlib
    import random
    import statistics
    import typing

    modules = (argparse, collections, datetime, decimal, pathlib, random, statistics, typing)
    parts = []
    for module in modules:
        for _, member in inspect.getmembers(module):
            parts.append(inspect.getdoc(member) or "")
            if inspect.isclass(member):
                parts += [inspect.getdoc(m) or "" for _, m in inspect.getmembers(member)]
    text = "\n".join(dict.fromkeys(parts))  # each once
    return "".join(c for c in text if c.isascii())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a text file")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--context", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--write", type=int, default=300, help="characters to write at the end")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    if options.data and not options.data.is_file():
        raise SystemExit(f"{options.data}: no such file")
    text = options.data.read_text(encoding="utf-8") if options.data else default_text()
    characters = sorted(set(text))
    number = {c: i for i, c in enumerate(characters)}
    tokens = np.array([number[c] for c in text])
    if len(tokens) < 2 * options.context:
        raise SystemExit(f"the text has {len(tokens)} characters: too few for this context")
    train, held_back = np.split(tokens, [len(tokens) * 9 // 10])
    print(f"{len(tokens)} characters, {len(characters)} different ones")

    nv.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    model = GPT(len(characters), options.context + options.write, d_model=options.width,
                nhead=4, num_layers=options.layers, dropout=0.1)  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=options.steps)

    def batch(source: np.ndarray) -> tuple[nv.Tensor, nv.Tensor]:
        places = rng.integers(0, len(source) - options.context - 1, options.batch)
        rows = source[places[:, None] + np.arange(options.context + 1)]
        return nv.tensor(rows[:, :-1].copy()), nv.tensor(rows[:, 1:].reshape(-1).copy())

    def loss_on(source: np.ndarray) -> nv.Tensor:
        x, y = batch(source)
        return F.cross_entropy(model(x).reshape(-1, len(characters)), y)

    begun = time.perf_counter()
    with ProgressBar(options.steps, "training") as bar:
        for step in range(1, options.steps + 1):
            model.train()
            optimizer.zero_grad()
            loss = loss_on(train)
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            speed = step * options.batch * options.context / (time.perf_counter() - begun)
            bar.update(1, text=f"loss {loss.item():.3f}  {speed:,.0f} characters/s")
            if step % 200 == 0 or step == options.steps:
                model.eval()
                with nv.no_grad():
                    bits = np.mean([loss_on(held_back).item() for _ in range(5)]) / np.log(2)
                bar.print(f"step {step:>5}  loss {loss.item():.3f}  held back: {bits:.2f} bits per "
                          f"character")  # fmt: skip

    prompt = nv.tensor(held_back[None, : options.context // 2].copy())
    written = model.generate(prompt, options.write, temperature=options.temperature)
    print("".join(characters[i] for i in written.numpy()[0]))


if __name__ == "__main__":
    main()
