# SPDX-License-Identifier: BSD-3-Clause
"""Tag every character of a line: does a bracket have a partner, and how deep does it stand?

A bidirectional GRU on lines of different lengths. Whether "(" is closed later is only known from
what follows, and what ")" closes only from what came before: both directions are needed. The lines
are drawn anew for training and test. Takes some seconds.
"""

import argparse

import numpy as np

import nervure as nv
from nervure import nn, optim
from nervure.nn import functional as F
from nervure.nn.utils import clip_grad_norm_
from nervure.progress import ProgressBar

CHARACTERS = "()[]ab "
PARTNER = {")": "(", "]": "["}
TAGS = ("text", "no partner", "depth 1", "depth 2", "depth 3", "deeper")
IGNORED = -100  # the tag of padding


def tags_of(line):
    """The right tags, found with a stack: a closing bracket fits the innermost open one only."""
    tags, stack = [0] * len(line), []
    for i, c in enumerate(line):
        if c in "([":
            stack.append(i)
            tags[i] = 1  # until its partner comes
        elif c in ")]":
            tags[i] = 1
            if stack and line[stack[-1]] == PARTNER[c]:
                depth = min(len(stack), 4)
                tags[i] = tags[stack.pop()] = 1 + depth
    return tags


def draw_line(rng, longest):
    return "".join(rng.choice(list(CHARACTERS), p=[0.2, 0.2, 0.1, 0.1, 0.15, 0.15, 0.1],
                              size=rng.integers(1, longest + 1)))  # fmt: skip


def batch_of(lines):
    """Characters (B, T), lengths (B,) and tags (B * T,), short lines filled up."""
    lengths = np.array([len(line) for line in lines])
    x = np.zeros((len(lines), lengths.max()), np.int64)
    y = np.full(x.shape, IGNORED)
    for row, line in enumerate(lines):
        x[row, : len(line)] = [CHARACTERS.index(c) for c in line]
        y[row, : len(line)] = tags_of(line)
    return nv.tensor(x), nv.tensor(lengths), nv.tensor(y.reshape(-1))


class Tagger(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS), 16)
        self.gru = nn.GRU(16, hidden, num_layers=2, bidirectional=True)
        self.output = nn.Linear(2 * hidden, len(TAGS))

    def forward(self, x, lengths):
        y, _ = self.gru(self.embedding(x), lengths=lengths)
        return self.output(y).reshape(-1, len(TAGS))


def test_report(model, lines):
    """Share of right tags, and for each tag how many of it were found."""
    x, lengths, y = batch_of(lines)
    model.eval()
    with nv.no_grad():
        guess = model(x, lengths).numpy().argmax(axis=1)
    model.train()
    y = y.numpy()
    right = guess == y
    found = {name: right[y == tag].mean() for tag, name in enumerate(TAGS) if (y == tag).any()}
    return right[y != IGNORED].mean(), found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=48)
    parser.add_argument("--longest", type=int, default=24, help="characters of a line")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    nv.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    model = Tagger(options.hidden)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.steps)
    with ProgressBar(options.steps, "training") as bar:
        for step in range(1, options.steps + 1):
            x, lengths, y = batch_of([draw_line(rng, options.longest)
                                      for _ in range(options.batch)])  # fmt: skip
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x, lengths), y, ignore_index=IGNORED)
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update(1, text=f"loss {loss.item():.3f}")
            if step % 100 == 0:
                bar.print(f"step {step:>4}  loss {loss.item():.3f}")

    accuracy, found = test_report(model, [draw_line(rng, options.longest) for _ in range(500)])
    for name, share in found.items():
        print(f"{name:>12}: {100 * share:.1f} % found")
    x, lengths, _ = batch_of(["((a)b)[ab](])"])
    with nv.no_grad():
        print("((a)b)[ab](])\n" + "".join(".?1234"[i] for i in model(x, lengths).numpy().argmax(1)))
    print(f"test accuracy {100 * accuracy:.2f} % of the characters")


if __name__ == "__main__":
    main()
