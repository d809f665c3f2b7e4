# SPDX-License-Identifier: BSD-3-Clause
"""Translate dates as people write them ("the 3rd of March, 1987") into ISO dates ("1987-03-03").

A recurrent encoder-decoder with additive attention, character by character. Or any parallel text of
your own: --data FILE with one "source<TAB>target" per line. Prints exact-match accuracy with greedy
and beam search, and leaves an attention heat map (needs matplotlib) and the model.

    python translate.py                    # about half a minute
    python translate.py --model transformer
    python translate.py --data pairs.tsv
"""

import argparse
import random
from pathlib import Path

import numpy as np

import nervure as nv
from nervure import optim, plot
from nervure.demo.dates import dates
from nervure.models import Seq2Seq, TransformerSeq2Seq
from nervure.nn.utils import clip_grad_norm_
from nervure.progress import ProgressBar

PADDING, START, END = 0, 1, 2


def pairs_of(path: Path) -> list[tuple[str, str]]:
    """Lines "source<TAB>target"."""
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; expected lines of source, a tab, target")
    pairs = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
    wrong = [i for i, pair in enumerate(pairs, 1) if len(pair) != 2]
    if wrong or not pairs:
        raise SystemExit(f"{path}: line {wrong[0] if wrong else 1} is not source, a tab, target")
    return [(source, target) for source, target in pairs]


class Alphabet:
    """Characters as numbers from 3 on; below stand padding, start and end."""

    def __init__(self, texts: list[str]) -> None:
        self.characters = sorted(set("".join(texts)))
        self.number = {c: i + 3 for i, c in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters) + 3

    def encode(self, texts: list[str]) -> tuple[nv.Tensor, nv.Tensor]:
        """Rows of numbers, each closed by END, padded; and their lengths."""
        rows = [[self.number[c] for c in text if c in self.number] + [END] for text in texts]
        lengths = np.array([len(row) for row in rows])
        table = np.full((len(rows), lengths.max()), PADDING)
        for row, numbers in zip(table, rows, strict=True):
            row[: len(numbers)] = numbers
        return nv.tensor(table), nv.tensor(lengths)

    def decode(self, row: np.ndarray) -> str:
        return "".join(self.characters[i - 3] for i in row if i >= 3)


def accuracy(model, pairs, sources, targets, longest, method) -> float:
    """Share of the pairs that come out exactly right."""
    right = 0
    for start in range(0, len(pairs), 250):
        some = pairs[start : start + 250]
        found = model.generate(*sources.encode([s for s, _ in some]), longest, method=method)
        for row, (_, target) in zip(found.tokens, some, strict=True):
            right += targets.decode(row) == target
    return right / len(pairs)


def heat_map(model, pair, sources, targets, longest, path: Path) -> None:
    """Which characters of the source each character of the target looked at."""
    source = "".join(c for c in pair[0] if c in sources.number)
    found = model.generate(*sources.encode([source]), longest)
    written = targets.decode(found.tokens[0])
    if found.attention is None or not source or not written:
        return print("no heat map: this model does not keep its attention weights")
    try:
        plot.attention(found.attention[0], source, written, path)
    except ImportError as error:
        return print(f"no heat map: {error}")
    print(f"{path}: what {written!r} looked at in {source!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="source<TAB>target lines instead of dates")
    parser.add_argument("--model", choices=["additive", "general", "dot", "none", "transformer"],
                        default="additive")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()

    pairs = pairs_of(options.data) if options.data else dates(9000, options.seed)
    random.Random(options.seed).shuffle(pairs)
    held_back = max(1, len(pairs) // 10)
    test, train = pairs[:held_back], pairs[held_back:]
    sources, targets = Alphabet([s for s, _ in train]), Alphabet([t for _, t in train])
    longest = max(len(t) for _, t in pairs) + 2
    print(f"{len(train)} pairs to learn, {len(test)} to test, such as {test[0]}")

    nv.manual_seed(options.seed)
    if options.model == "transformer":
        model = TransformerSeq2Seq(len(sources), len(targets), d_model=options.hidden)
    else:
        attention = None if options.model == "none" else options.model
        model = Seq2Seq(len(sources), len(targets), embed_dim=32, hidden_size=options.hidden,
                        attention=attention)  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=3e-3 if options.model != "transformer" else 1e-3)
    x, x_lengths = sources.encode([s for s, _ in train])
    y, y_lengths = targets.encode([t for _, t in train])
    steps = (len(train) + options.batch - 1) // options.batch
    for epoch in range(1, options.epochs + 1):
        total = 0.0
        with ProgressBar(steps, f"epoch {epoch:>2}/{options.epochs}") as bar:
            for rows in nv.randperm(len(train)).split([options.batch] * (steps - 1) + [
                    len(train) - options.batch * (steps - 1)]):  # fmt: skip
                optimizer.zero_grad()
                loss = model.loss(x[rows], y[rows], x_lengths[rows], y_lengths[rows])
                loss.backward()
                clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                total += loss.item()
                bar.update(1, text=f"loss {loss.item():.3f}")
            right = accuracy(model, test[:250], sources, targets, longest, "greedy")
            bar.print(f"epoch {epoch:>2}  loss {total / steps:.4f}  exact {right:.3f}")

    for method in ("greedy", "beam"):
        print(
            f"exact match, {method}: {accuracy(model, test, sources, targets, longest, method):.4f}"
        )
    for source, target in test[:5]:
        found = model.generate(*sources.encode([source]), longest, method="beam")
        print(f"  {source:<35} {targets.decode(found.tokens[0])}  ({target})")
    heat_map(model, test[0], sources, targets, longest, options.out / "translate-attention.png")
    nv.save(model.state_dict(), options.out / "translate.safetensors")


if __name__ == "__main__":
    main()
