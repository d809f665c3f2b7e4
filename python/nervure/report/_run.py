# SPDX-License-Identifier: BSD-3-Clause
"""Sections about the training: key figures, warnings, curves, evaluation, settings."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nervure import _core, metrics, plot
from nervure.plot._curves import best_epoch
from nervure.report._evaluate import Evaluation
from nervure.report._page import Page

if TYPE_CHECKING:
    from nervure.train import Trainer

MOST_CURVES = 12  # classes whose ROC curves can be told apart


def number(value: Any) -> str:
    """Four significant digits; other things as they are."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def subtitle(trainer: Trainer) -> str:
    """What was trained, in one line."""
    epochs = len(trainer.history.epoch)
    total = sum(p.numel() for p in trainer.model.parameters())
    told = [f"{total:,} parameters", f"{epochs:,} epoch{'s' * (epochs != 1)}"]
    told.append(f"{trainer.step:,} update{'s' * (trainer.step != 1)}")
    if trainer.interrupted:
        told.append("interrupted")
    if trainer.diverged:
        told.append("stopped because of values that were not finite")
    return " \N{MIDDLE DOT} ".join(told)


def cards(page: Page, trainer: Trainer, found: Evaluation | None) -> None:
    """The figures one looks for first."""
    history = trainer.history.history
    if found is not None:
        for name in _on_cards(found):
            page.card(f"{_words(name)}, validation", number(found.logs[name]))
    elif history:
        for name, values in list(history.items())[:5]:
            if np.ndim(values[-1]) == 0:
                page.card(f"{_words(name)}, last epoch", number(values[-1]))
    if found is not None:
        page.card("validation samples", number(found.samples))


def _on_cards(found: Evaluation) -> list[str]:
    return [name for name, value in found.logs.items() if np.ndim(value) == 0][:5]


def _words(name: str) -> str:
    return name.replace("_", " ")


def warnings(page: Page, trainer: Trainer) -> None:
    """What the training warned of."""
    told = list(dict.fromkeys(trainer.warnings))
    if told:
        page.section("Warnings")
        for text in told:
            page.text(text, "warning")


def curves(page: Page, trainer: Trainer) -> None:
    """Loss and metrics over the epochs."""
    history = trainer.history.history
    page.section("Learning curves")
    shown = {name: v for name, v in history.items() if v and np.ndim(v[-1]) == 0}
    if not shown:
        page.text("The model has not been trained by this trainer yet.", "note")
        return
    names = list(dict.fromkeys(name.removeprefix("val_") for name in shown))
    rows = [[_words(name), *_summary(shown, name)] for name in names]
    told = "; ".join(f"{row[0]}: last {row[1]}, validation {row[2]}" for row in rows)
    page.figure(
        plot.learning_curves(shown),
        f"Learning curves. {told}.",
        "The number marks the best epoch, of the validation where there is one.",
    )
    head = ["", "last, training", "last, validation", "best, validation", "in epoch"]
    page.table(rows, head, numbers=True)


def _summary(history: dict[str, list[Any]], name: str) -> list[str]:
    """Last values, and the best of the validation with its epoch."""
    last = number(float(history[name][-1])) if name in history else "\N{EN DASH}"
    values = np.asarray(history.get(f"val_{name}", []), dtype=np.float64)
    if not np.isfinite(values).any():
        return [last, *["\N{EN DASH}"] * 3]
    best = best_epoch(name, values)
    return [last, number(float(values[-1])), number(float(values[best])), str(best + 1)]


def evaluation(page: Page, found: Evaluation, class_names: Sequence[object] | None) -> None:
    """Metrics, and of classifiers the confusion matrix and curves."""
    page.section("Validation")
    shown = _on_cards(found)
    rows = [[_words(name), _value(v)] for name, v in found.logs.items() if name not in shown]
    page.text(
        f"Over all {found.samples:,} samples: "
        + ", ".join(f"{_words(name)} {number(found.logs[name])}" for name in shown)
        + "."
    )
    if rows:
        page.table(rows, ["", "over all samples"], numbers=True)
    if found.note:
        page.text(found.note, "note")
    if found.truth is None or found.scores is None:
        return
    truth, scores = found.truth.reshape(-1), found.scores
    if scores.ndim == 1:
        scores = np.stack([1 - scores, scores], axis=1)
    count = scores.shape[1]
    names = [str(name) for name in (range(count) if class_names is None else class_names)]
    if len(names) != count:
        raise ValueError(
            f"[Trainer.report] class_names must name {count} classes, got {len(names)}"
        )
    predicted = scores.argmax(axis=1)
    matrix = metrics.confusion_matrix(truth, predicted, num_classes=count)
    page.figure(
        plot.confusion_matrix(matrix, names),
        f"Confusion matrix of {count} classes; {np.trace(matrix)} of {matrix.sum()} right. The "
        "table below has the numbers of each class.",
        "Rows are the truth, columns the prediction; the colour is the share of the row.",
    )
    _per_class(page, truth, predicted, names)
    if count <= MOST_CURVES and len(np.unique(truth)) == count and np.isfinite(scores).all():
        areas = metrics.ROCAUC(None)
        areas.update(truth, scores)
        drawn = {names[int(label)]: curve for label, curve in areas.curves().items()}
        told = ", ".join(
            f"{name} {area:.4g}"
            for name, area in zip(drawn, np.ravel(areas.compute()), strict=True)
        )
        page.figure(
            plot.roc_curves(drawn),
            f"ROC curves; areas: {told}.",
            "ROC curves, each class against the rest.",
        )


def _per_class(page: Page, truth: Any, predicted: Any, names: list[str]) -> None:
    options: dict[str, Any] = {"average": None, "num_classes": len(names)}
    scores = (metrics.precision, metrics.recall, metrics.f1)
    columns = [np.asarray(score(truth, predicted, **options)) for score in scores]
    samples = np.bincount(truth, minlength=len(names))
    rows = [
        [name, *(f"{column[i]:.4f}" for column in columns), number(samples[i])]
        for i, name in enumerate(names)
    ]
    page.table(rows, ["class", "precision", "recall", "F1", "samples"], numbers=True)


def _value(value: Any) -> str:
    """A metric's value; of one per class all of them, of a matrix its shape."""
    if np.ndim(value) == 0:
        return number(value)
    array = np.asarray(value)
    if array.ndim == 1 and array.size <= 20:
        return ", ".join(number(float(v)) for v in array)
    return "\N{MULTIPLICATION SIGN}".join(map(str, array.shape)) + " values"


def settings(page: Page, trainer: Trainer) -> None:
    """How it was trained, and with what."""
    page.section("Settings")
    page.table(_settings(trainer), ["training", ""])
    config = _core.config()
    threads = f"{config['threads']} (from {config['threads_from']}; {config['threading']})"
    page.table(
        [
            ["nervure", config["version"]],
            ["processor", config["cpu"]],
            ["instruction set", config["isa"]],
            ["threads", threads],
            ["compiler", f"{config['compiler']} ({config['build_type']})"],
            ["Python", platform.python_version()],
            ["NumPy", np.__version__],
            ["system", f"{platform.system()} {platform.machine()}"],
        ],
        ["machine", ""],
    )


def _settings(trainer: Trainer) -> list[list[str]]:
    parameters = list(trainer.model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    rows = [
        ["model", type(trainer.model).__name__],
        ["parameters", f"{sum(p.numel() for p in parameters):,}, of which {trainable:,} learn"],
        ["loss", _name(trainer.loss)],
        ["optimizer", type(trainer.optimizer).__name__],
    ]
    groups = trainer.optimizer.param_groups
    for i, group in enumerate(groups):
        told = ", ".join(f"{k} = {_short(v)}" for k, v in sorted(group.items()) if k != "params")
        rows.append([f"parameter group {i}" if len(groups) > 1 else "options", told])
    if trainer.scheduler is not None:
        rows.append(["schedule", f"{_name(trainer.scheduler)}, every {trainer.scheduler_step}"])
    for name in ("clip_norm", "clip_value", "tbptt"):
        if getattr(trainer, name) is not None:
            rows.append([name, number(getattr(trainer, name))])
    if trainer.accumulation_steps != 1:
        rows.append(["accumulation_steps", number(trainer.accumulation_steps)])
    if trainer.average is not None:
        rows.append(["ema_decay", number(trainer.average.decay)])
    rows.append(["metrics", ", ".join(trainer.metrics) or "none"])
    steps = trainer.history.params.get("steps")
    if steps is not None:
        rows.append(["updates per epoch", number(-(-steps // trainer.accumulation_steps))])
    rows.append(["epochs, updates", f"{len(trainer.history.epoch):,}, {trainer.step:,}"])
    return rows


def _name(thing: Any) -> str:
    text = repr(thing) if hasattr(thing, "_settings") else getattr(thing, "__name__", "")
    return text or type(thing).__name__


def _short(value: Any) -> str:
    return number(value) if not isinstance(value, bool) else str(value)
