# SPDX-License-Identifier: BSD-3-Clause
"""Train a recurrent network on the characters of a text and let it write.

python char_lm.py                                 # on the documentation in Python's own modules
python char_lm.py --data shakespeare.txt --epochs 20 --cell gru --layers 2
python char_lm.py --resume                        # go on where the last run stopped

The text is read as some streams side by side. The gradient goes back through one stretch of each
(truncated backpropagation through time), the state goes on. After each epoch everything is saved.
"""

import argparse
import importlib
import json
import pydoc
import time
from pathlib import Path

import numpy as np

import nervure as nv
from nervure import optim
from nervure.models import CharRNN
from nervure.nn import functional as F
from nervure.nn.utils import clip_grad_norm_
from nervure.progress import ProgressBar

MODULES = (
    *("argparse", "collections", "datetime", "decimal", "difflib", "email.message", "fractions"),
    *("http.client", "logging", "os", "pathlib", "random", "statistics", "subprocess", "tarfile"),
    *("threading", "typing", "unittest", "zipfile"),
)


def default_text():
    """What ``help()`` says about modules that every Python installation has."""
    pages = [pydoc.plain(pydoc.render_doc(importlib.import_module(name))) for name in MODULES]
    lines = [line.strip(" |") for page in pages for line in page.splitlines()]
    kept = [line for line in lines if not line.startswith("---")]
    return "".join(c for c in "\n".join(kept) if c.isascii())


def detached(state):
    """The state without its past: an LSTM has two tensors."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def in_streams(tokens, count):
    """(count, n): the text cut into ``count`` parts that are read side by side."""
    n = len(tokens) // count
    return tokens[: count * n].reshape(count, n)


def stretches(streams, length):
    """Inputs (B, T) and targets, the same one character on, one stretch after the other."""
    for start in range(0, streams.shape[1] - 1, length):
        part = streams[:, start : start + length + 1]
        yield nv.tensor(part[:, :-1].copy()), nv.tensor(part[:, 1:].reshape(-1).copy())


def evaluate(model, streams, length):
    """Bits per character of a text that the model has not learnt."""
    model.eval()
    total, count, state = 0.0, 0, None
    with nv.no_grad():
        for x, y in stretches(streams, length):
            scores, state = model(x, state)
            total += F.cross_entropy(scores.reshape(len(y), -1), y).item() * len(y)
            count += len(y)
    model.train()
    return total / count / np.log(2)


def save(path, model, optimizer, epoch, settings):
    """Weights, the optimiser's state and what they belong to, in one file."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    steps = {}
    for index, values in optimizer.state_dict()["state"].items():
        steps[index] = values["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            tensors[f"optimizer.{index}.{name}"] = values[name]
    notes = {"epoch": epoch, "steps": steps, **settings}
    nv.save(tensors, path, {"state": json.dumps(notes)})


def restore(path, model, optimizer, notes):
    tensors = nv.load(path)
    model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items()
                           if name.startswith("model.")})  # fmt: skip
    state = {
        int(index): {"step": step, **{name: tensors[f"optimizer.{index}.{name}"]
                                      for name in ("exp_avg", "exp_avg_sq")}}
        for index, step in notes["steps"].items()
    }  # fmt: skip
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="a text file; default: the documentation of Python's modules")
    add("--epochs", type=int, default=5, help="in all, those of earlier runs included")
    add("--batch", type=int, default=32, help="streams side by side")
    add("--stretch", type=int, default=64, help="steps that the gradient goes back")
    add("--cell", choices=("lstm", "gru", "rnn"), default="lstm")
    add("--hidden", type=int, default=192)
    add("--layers", type=int, default=1)
    add("--embedding", type=int, default=32, help="features of a character; 0: one-hot")
    add("--dropout", type=float, default=0.0)
    add("--lr", type=float, default=4e-3)
    add("--limit", type=int, default=300_000, help="characters of the text to use")
    add("--write", type=int, default=400, help="characters to write at the end")
    add("--temperature", type=float, default=0.7)
    add("--top-k", type=int)
    add("--prompt", default="The ")
    add("--seed", type=int, default=0)
    add("--file", type=Path, default=Path("char_lm.safetensors"), help="where all is saved")
    add("--resume", action="store_true", help="go on from the file")
    options = parser.parse_args()

    if options.data and not options.data.is_file():
        raise SystemExit(f"{options.data}: no such file")
    if options.resume and not options.file.is_file():
        raise SystemExit(f"{options.file}: nothing to resume")
    text = options.data.read_text(encoding="utf-8") if options.data else default_text()
    text = text[: options.limit]
    notes = {"epoch": 0}
    settings = {
        "characters": "".join(sorted(set(text))), "cell": options.cell, "hidden": options.hidden,
        "layers": options.layers, "embedding": options.embedding,
    }  # fmt: skip
    if options.resume:
        notes = json.loads(nv.load_metadata(options.file)["state"])
        settings = {name: notes[name] for name in settings}
    characters = settings["characters"]
    number = {c: i for i, c in enumerate(characters)}
    tokens = np.array([number[c] for c in text if c in number])
    train, held_back = np.split(tokens, [len(tokens) * 9 // 10])
    if len(held_back) < 4 * options.batch:
        raise SystemExit(f"the text has {len(tokens)} characters: too few")
    streams, test = in_streams(train, options.batch), in_streams(held_back, options.batch)

    nv.manual_seed(options.seed)
    model = CharRNN(
        len(characters), settings["hidden"], settings["layers"], cell=settings["cell"],
        embedding_dim=settings["embedding"] or None, dropout=options.dropout,
    )  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    if options.resume:
        restore(options.file, model, optimizer, notes)
        print(f"{options.file}: {notes['epoch']} epochs done")
    print(f"{len(tokens):,} characters, {len(characters)} different ones; {settings['cell']}, "
          f"{sum(p.numel() for p in model.parameters()):,} parameters")  # fmt: skip

    steps = len(range(0, streams.shape[1] - 1, options.stretch))
    for epoch in range(notes["epoch"] + 1, options.epochs + 1):
        state, losses, begun, seen = None, [], time.perf_counter(), 0
        with ProgressBar(steps, f"epoch {epoch}/{options.epochs}") as bar:
            for x, y in stretches(streams, options.stretch):
                optimizer.zero_grad()
                scores, state = model(x, state)
                loss = F.cross_entropy(scores.reshape(len(y), -1), y)
                loss.backward()
                clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                state = detached(state)
                losses.append(loss.item())
                seen += len(y)
                speed = seen / (time.perf_counter() - begun)
                bar.update(1, text=f"loss {losses[-1]:.3f}  {speed:,.0f} characters/s")
        bits = evaluate(model, test, options.stretch)
        save(options.file, model, optimizer, epoch, settings)
        print(f"epoch {epoch}: loss {np.mean(losses):.3f}, {speed:,.0f} characters/s, "
              f"held back: {bits:.3f} bits per character")  # fmt: skip

    prompt = [number[c] for c in options.prompt if c in number] or [0]
    written = model.generate(nv.tensor(np.array([prompt])), options.write,
                             temperature=options.temperature, top_k=options.top_k)  # fmt: skip
    print("\n" + "".join(characters[i] for i in written.numpy()[0]))


if __name__ == "__main__":
    main()
