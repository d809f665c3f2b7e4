# SPDX-License-Identifier: BSD-3-Clause
"""``nervure demo --task translate``: dates as people write them, to ISO form."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import nervure as nv
from nervure import optim
from nervure.data import Vocabulary, pad_sequences
from nervure.demo.dates import dates
from nervure.models import Seq2Seq
from nervure.nn.utils import clip_grad_norm_
from nervure.progress import ProgressBar

EPOCHS = 4
PAIRS = 9000
BATCH = 64
HIDDEN = 96
LEARNING_RATE = 3e-3
LONGEST = 12  # characters of 1987-03-03, the end, and one to spare
PADDING, START, END = SPECIAL = range(3)

Pairs = Sequence[tuple[str, str]]


class Characters:
    """Texts as rows of numbers; the first three mean padding, start and end."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.vocabulary = Vocabulary("".join(texts))

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.vocabulary)

    def encode(self, texts: Sequence[str]) -> tuple[nv.Tensor, nv.Tensor]:
        """Rows (B, T), each closed by END, padded; and their lengths (B,)."""
        rows = [[*(self.vocabulary.encode(text) + len(SPECIAL)), END] for text in texts]
        table = pad_sequences(rows, dtype="int64", padding="post", value=PADDING)
        return nv.tensor(table), nv.tensor(np.array([len(row) for row in rows]))

    def decode(self, row: npt.NDArray[np.int64]) -> str:
        """Give the text of a row, without what is not a character."""
        return self.vocabulary.decode(i - len(SPECIAL) for i in row if i >= len(SPECIAL))


def build_network(source_size: int, target_size: int) -> Seq2Seq:
    """A GRU that reads both ways, additive attention, a GRU that writes."""
    return Seq2Seq(source_size, target_size, embed_dim=32, hidden_size=HIDDEN, attention="additive")


def translate(
    model: Seq2Seq,
    texts: Sequence[str],
    sources: Characters,
    targets: Characters,
    method: str = "greedy",
) -> list[str]:
    """Write the target of every text."""
    written: list[str] = []
    for start in range(0, len(texts), 250):
        encoded = sources.encode(texts[start : start + 250])
        found = model.generate(*encoded, LONGEST, method=method)
        written += [targets.decode(row) for row in found.tokens]
    return written


def exact(written: Sequence[str], pairs: Pairs) -> float:
    """Share of the pairs that came out right in every character."""
    hits = [found == pair[1] for found, pair in zip(written, pairs, strict=True)]
    return float(np.mean(hits))


def train_network(
    model: Seq2Seq,
    train: Pairs,
    validation: Pairs,
    alphabets: tuple[Characters, Characters],
    epochs: int,
) -> dict[str, list[float]]:
    """Train with Adam and a cosine schedule; loss and exact matches of every epoch."""
    sources, targets = alphabets
    x, x_lengths = sources.encode([source for source, _ in train])
    y, y_lengths = targets.encode([target for _, target in train])
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    steps = (len(train) + BATCH - 1) // BATCH
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps)
    history: dict[str, list[float]] = {"loss": [], "val_exact_match": []}
    with ProgressBar(epochs * steps, "training") as bar:
        for epoch in range(1, epochs + 1):
            bar.update(0, description=f"epoch {epoch}/{epochs}")
            total, begun = 0.0, time.perf_counter()
            order = nv.randperm(len(train))
            for start in range(0, len(train), BATCH):
                rows = order[start : start + BATCH]
                optimizer.zero_grad()
                loss = model.loss(x[rows], y[rows], x_lengths[rows], y_lengths[rows])
                loss.backward()
                clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                schedule.step()
                total += loss.item()
                bar.update(1, text=f"loss {loss.item():.3f}")
            speed = len(train) / (time.perf_counter() - begun)
            model.eval()
            written = translate(model, [source for source, _ in validation], sources, targets)
            model.train()
            history["loss"].append(total / steps)
            history["val_exact_match"].append(exact(written, validation))
            bar.print(
                f"epoch {epoch:>3}: loss {history['loss'][-1]:.4f}, {speed:,.0f} pairs/s; "
                f"validation: {100 * history['val_exact_match'][-1]:.1f} % exactly right"
            )
    return history


def run(epochs: int | None, seed: int, output: Path) -> float:
    """Train, translate, draw, save; the share of test dates that come out exactly right."""
    from nervure import plot

    epochs = epochs or EPOCHS
    pairs = dates(PAIRS, seed)
    test, validation, train = pairs[:900], pairs[900:1200], pairs[1200:]
    sources = Characters([source for source, _ in train])
    targets = Characters([target for _, target in train])
    nv.manual_seed(seed)
    model = build_network(len(sources), len(targets))
    count = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"dates in nine forms and three cases, to ISO form: {len(train)} to train, "
        f"{len(validation)} to validate, {len(test)} to test\n"
        f"a bidirectional GRU reads, a GRU of {HIDDEN} units with additive attention writes, "
        f"{count:,} parameters; Adam, batches of {BATCH}"
    )
    history = train_network(model, train, validation, (sources, targets), epochs)
    accuracy = _report(model.eval(), test, sources, targets)
    _draw_attention(model, test[0][0], sources, targets, output)
    plot.learning_curves(history, output / "learning_curves.png")
    nv.save(model.state_dict(), output / "model.safetensors")
    restored = build_network(len(sources), len(targets)).eval()
    restored.load_state_dict(nv.load(output / "model.safetensors"))
    again = exact(translate(restored, [source for source, _ in test], sources, targets), test)
    if again != accuracy:
        raise RuntimeError(f"the saved network is right in {again:.4f}, not {accuracy:.4f}")
    print(
        f"in {output}: learning_curves.png, attention.png, model.safetensors "
        f"(loaded again: {100 * again:.2f} %)"
    )
    return accuracy


def _report(model: Seq2Seq, test: Pairs, sources: Characters, targets: Characters) -> float:
    """Print how much is right, and some of it; the share that is, decoding greedily."""
    texts = [source for source, _ in test]
    begun = time.perf_counter()
    greedy = translate(model, texts, sources, targets)
    microseconds = 1e6 * (time.perf_counter() - begun) / len(test)
    beam = translate(model, texts, sources, targets, "beam")
    accuracy = exact(greedy, test)
    print(
        f"\n{len(test)} dates never seen in training, exactly right: greedy {100 * accuracy:.2f} %,"
        f" beam search {100 * exact(beam, test):.2f} %; {microseconds:.0f} µs per date in a batch\n"
    )
    wrong = [i for i, (_, target) in enumerate(test) if greedy[i] != target]
    for i in [*range(6), *wrong[:3]]:
        verdict = "" if greedy[i] == test[i][1] else f"   (no: {test[i][1]})"
        print(f"  {texts[i]:<34} {greedy[i]}{verdict}")
    print()
    return accuracy


def _draw_attention(
    model: Seq2Seq, source: str, sources: Characters, targets: Characters, output: Path
) -> None:
    from nervure import plot

    found = model.generate(*sources.encode([source]), LONGEST)
    assert found.attention is not None
    written = targets.decode(found.tokens[0])
    plot.attention(found.attention[0], source, written or "?", output / "attention.png")
