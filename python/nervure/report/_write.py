# SPDX-License-Identifier: BSD-3-Clause
"""The report: what is asked for, put together, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nervure.data._arrays import map_structure
from nervure.plot._figure import new_figure
from nervure.report import _inside, _run
from nervure.report._evaluate import Evaluation, evaluate
from nervure.report._page import Page
from nervure.serialize import _replacing
from nervure.train._batch import to_tensor
from nervure.train._feed import Feed, Options, validation_feed

if TYPE_CHECKING:
    from nervure.train import Trainer


def write_report(
    trainer: Trainer,
    path: str | os.PathLike[str],
    validation_data: Any,
    inputs: Any,
    class_names: Sequence[object] | None,
    tokens: Sequence[object] | None,
    title: str | None,
) -> Path:
    """What :meth:`nervure.Trainer.report` does."""
    new_figure("report", 1, 1)  # without matplotlib it ends here
    page = Page(title or type(trainer.model).__name__, _run.subtitle(trainer))
    with trainer._inference():
        found = _evaluated(trainer, validation_data)
        x = None if found is None else found.few.x
        if inputs is not None:
            x = map_structure(to_tensor, inputs)
        _run.cards(page, trainer, found)
        _run.warnings(page, trainer)
        _run.curves(page, trainer)
        if found is not None:
            _run.evaluation(page, found, class_names)
        _inside.model(page, trainer.model, x)
        _inside.weights(page, trainer.model)
        _inside.filters(page, trainer.model)
        if found is not None:
            _inside.gradients(page, trainer, found.few)
        if x is not None:
            _inside.attention(page, trainer.model, x, tokens)
            _inside.activations(page, trainer.model, x)
        _missing(page, found, x)
        _run.settings(page, trainer)
    written = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    text = page.html(f"Written by nervure, {written}. Everything is in this file.")
    # A lone surrogate, which no file may hold, becomes a question mark.
    data = text.encode("utf-8", "replace")
    with _replacing(os.path.realpath(path)) as file:
        file.write(data)
    return Path(path)


def _evaluated(trainer: Trainer, validation_data: Any) -> Evaluation | None:
    """Result of what was given, or of what validated the last ``fit``."""
    feed: Feed | None = trainer._validation
    if validation_data is not None:
        feed = validation_feed(validation_data, Options())
    elif feed is not None and feed.is_used_up:
        feed = None
    return None if feed is None else evaluate(trainer, feed)


def _missing(page: Page, found: Evaluation | None, x: Any) -> None:
    """Say what the page could also show."""
    if found is None:
        more = "" if x is not None else ", attention maps and activations"
        page.section("Not shown")
        page.text(
            f"Metrics, confusion matrix, gradients{more}: there is no validation data. Train with "
            "validation_data or validation_split, or give report(path, validation_data=(x, y)).",
            "note",
        )
