# SPDX-License-Identifier: BSD-3-Clause
"""Trainer: fit, evaluate and predict."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from nervure import _core, nn, optim
from nervure._grad_mode import no_grad
from nervure.callbacks.base import Callback, CallbackList
from nervure.callbacks.progress import bar_over, resolve_verbose
from nervure.metrics import ExactMatch
from nervure.nn._watch import evaluating
from nervure.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from nervure.train import checkpoint
from nervure.train._average import WeightAverage
from nervure.train._batch import Batch, as_batch, call, prediction_of
from nervure.train._feed import Feed, Options, open_feed, split_off, validation_feed
from nervure.train._fit import Fit
from nervure.train._meter import Meter, resolve_metrics
from nervure.train._objective import Objective, Penalty
from nervure.train._predictions import check_rows, joined, probabilities
from nervure.train._settings import (
    CLIP_VALUE,
    as_list,
    check_counts,
    check_settings,
    resolve_class_weights,
    resolve_optimizer,
    with_progress,
)
from nervure.train.advice import Advisor
from nervure.train.history import History


class Trainer:
    """Trains a model, with Keras's ``fit``, ``evaluate`` and ``predict``.

    Parameters
    ----------
    model : Module
        Called as ``model(x)``; with several inputs ``model(x1, x2)`` or, from a dict,
        ``model(name=...)``; with sequences of different lengths ``model(x, lengths=lengths)``. Of a
        model that returns ``(output, state)`` the output is the prediction.
    loss : Module, callable or str
        ``loss(output, target)`` gives one number. Names: "cross_entropy", "mse", "bce_with_logits",
        ... Targets of one dimension go with outputs ``(N, 1)``.
    optimizer : Optimizer or str, default "adam"
        A name stands for that optimiser of all parameters with its defaults.
    metrics : list or dict, optional
        Metrics of :mod:`nervure.metrics`, their names ("accuracy", "f1_macro", ...), or functions
        ``f(y_true, y_pred)``. They are computed over all samples of an epoch, never averaged over
        batches. Predictions are probabilities where the loss says that outputs are logits.
    clip_norm : float, optional
        Greatest norm of all gradients together.
    clip_value : float or None, default 5.0
        Greatest absolute value of each element of the gradients, which hardly ever gets there when
        the loss is a mean: it catches the steps that would throw the weights far away, as those of
        recurrent networks now and then. None limits nothing. Together with ``clip_norm`` the
        default is None. Optimisers of nervure apply it in their step, without a pass over the
        gradients; these stay as they are. ``fit`` reads the setting when it begins.
    accumulation_steps : int, default 1
        Batches whose gradients make one update, which is that of one batch of all their samples
        (but for layers that look at the batch, as batch norm does).
    scheduler : LRScheduler, optional
        Schedule of the learning rate. ``ReduceLROnPlateau`` is given ``val_loss``, or ``loss``
        without validation.
    scheduler_step : {"epoch", "step"}, default "epoch"
        Whether the schedule goes on after every epoch or every update.
    l1, l2 : float or dict, optional
        Adds ``l1 * sum |w|`` and ``l2 * sum w^2`` to the loss, as Keras's regularizers do. A number
        means all weights of two and more dimensions, so neither biases nor norms. A dict gives it
        by dotted name: of a module (its weights), or of one parameter. The optimiser's own ``l1``
        is another thing: it makes weights exactly zero.
    ema_decay : float, optional
        Keeps an exponential moving average of the weights with this decay. Validation, ``evaluate``
        and ``predict`` use it; ``average.copy_to_model()`` makes it the model's own.
    tbptt : int, optional
        Truncated backpropagation through time: sequences ``(B, T, ...)`` with targets for every
        step are cut into stretches of so many steps, with an update after each; the state is
        carried from one to the next without its past, and starts anew with each batch. The model
        is called as ``model(x, state=state)`` and returns ``(output, state)``.
    class_dim : {1, -1}, default 1
        Where outputs of more than two dimensions have their classes, for cross-entropy and NLL: 1
        as in PyTorch, ``(N, C, T)``, or -1, ``(N, T, C)``.
    advice : bool, default True
        Whether ``fit`` looks at some of the updates, for about a hundredth of its time, and warns,
        each time once, of symmetric weights, dead ReLUs, saturated gates, exploding or vanishing
        gradients, a bias before batch norm, class imbalance measured by accuracy alone, a learning
        rate that diverges, and softmax before cross-entropy: a :class:`TrainingWarning` that says
        what to do. It changes nothing.

    Attributes
    ----------
    history : History
        Of the last ``fit``.
    step : int
        Updates so far.
    stop_training : bool
        True ends the training after the event at which it is set.
    interrupted : bool
        Whether Ctrl-C ended the last ``fit``.
    warnings : list of str
        What training warned of so far, for :meth:`report`.

    Raises
    ------
    ValueError
        For options that are impossible or exclude each other.
    TypeError
        For a model, loss, optimiser, scheduler or metric that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import nervure as nv
    >>> from nervure import nn
    >>> nv.manual_seed(0)
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> model = nn.Sequential(nn.Linear(2, 16, activation="relu"), nn.Linear(16, 2))
    >>> trainer = nv.Trainer(model, "cross_entropy", "adam", metrics=["accuracy"])
    >>> history = trainer.fit(x, y, epochs=40, validation_split=0.2)
    >>> history.history["val_accuracy"][-1] > 0.9
    True
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Any,
        optimizer: optim.Optimizer | str = "adam",
        metrics: Any = None,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = CLIP_VALUE,
        accumulation_steps: int = 1,
        scheduler: LRScheduler | ReduceLROnPlateau | None = None,
        scheduler_step: str = "epoch",
        l1: float | Mapping[str, float] | None = None,
        l2: float | Mapping[str, float] | None = None,
        ema_decay: float | None = None,
        tbptt: int | None = None,
        class_dim: int = 1,
        advice: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"[Trainer] model must be a Module, got {type(model).__name__}")
        check_settings(
            clip_norm, clip_value, accumulation_steps, scheduler, scheduler_step, tbptt, class_dim
        )
        self.model = model
        self.optimizer = resolve_optimizer(model, optimizer)
        if scheduler is not None and scheduler.optimizer is not self.optimizer:
            raise ValueError("[Trainer] the scheduler must be one of the trainer's optimizer")
        self.metrics = resolve_metrics(metrics)
        if tbptt is not None and any(isinstance(m, ExactMatch) for m in self.metrics.values()):
            raise ValueError("[Trainer] exact_match needs whole sequences, tbptt cuts them")
        self.clip_norm = clip_norm
        self.clip_value = None if clip_norm is not None else clip_value
        self.accumulation_steps = accumulation_steps
        self.scheduler = scheduler
        self.scheduler_step = scheduler_step
        self.tbptt = tbptt
        self.average = None if ema_decay is None else WeightAverage(model, ema_decay)
        self._objective = Objective(loss, class_dim)
        self._penalty = Penalty(model, l1, l2)
        self.history = History()
        self.step = 0
        self.stop_training = False
        self.interrupted = False
        self.diverged = False  # set by TerminateOnNaN
        self.last_loss = float("nan")
        # Batches of the update under way, states and random numbers before each: for callbacks that
        # look at gradients.
        self.current_group: list[tuple[Batch, Any, tuple[int, int]]] = []
        self._advisor = Advisor(self) if advice else None
        self._run: Fit | None = None
        self._validation: Feed | None = None  # of the last fit, for report()
        self.warnings: list[str] = []
        self._pending: dict[str, Any] | None = None

    @property
    def loss(self) -> Any:
        """The loss function."""
        return self._objective.loss

    # ---- training --------------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        *,
        lengths: Any = None,
        resume_from: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train for some epochs.

        Afterwards the model is in evaluation mode, ready for use. Ctrl-C ends the training after
        the update under way: weights, optimiser and history are kept, and a
        :class:`~nervure.callbacks.ModelCheckpoint` writes a checkpoint. A second Ctrl-C stops at
        once.

        Parameters
        ----------
        x : array, tuple or dict of arrays, Dataset, DataLoader, iterable or function
            Inputs: arrays, tensors, pandas or polars frames; several of them in a tuple, or by name
            in a dict. Or a data set; or batches ``(x, y)`` or ``(x, y, sample_weight)`` from a
            loader, a generator, or a function that returns a new generator for each epoch.
        y : array, optional
            Targets, when ``x`` is arrays.
        batch_size : int, default 32
            Samples of a batch; not for loaders and generators.
        epochs : int, default 1
            Number of the epoch before which training ends, counted from 0: with ``initial_epoch``
            not how many are done.
        verbose : {"auto", 0, 1, 2}, default "auto"
            0 says nothing, 1 shows a progress bar, 2 prints a line per epoch. "auto" is 1 on a
            terminal or in a notebook and 0 otherwise. 1 elsewhere prints a line per epoch.
        callbacks : list of Callback, optional
            See :mod:`nervure.callbacks`.
        validation_split : float, default 0
            Share of the samples, the last ones before any shuffling, that validates.
        validation_data : (x, y), (x, y, sample_weight), Dataset or DataLoader, optional
            What validates after each epoch; wins over ``validation_split``.
        shuffle : bool, default True
            Whether arrays and data sets are shuffled for each epoch.
        class_weight : dict or "balanced", optional
            Weight of the loss by class, in training only; a class that is not named weighs 1.
            "balanced" gives each class ``samples / (classes * samples of the class)``.
        sample_weight : (N,) array, optional
            Weight of the loss by sample.
        initial_epoch : int, default 0
            Number of the first epoch.
        steps_per_epoch : int, optional
            Batches of an epoch; by default all. Needed for generators that never end.
        validation_steps, validation_batch_size : int, optional
            The same for validation; the batch size is by default that of training.
        validation_freq : int, default 1
            Epochs from one validation to the next.
        lengths : (N,) array of int, optional
            True lengths of padded sequences in ``x``.
        resume_from : str or PathLike, optional
            Checkpoint to go on from: a file, or a folder, whose newest whole checkpoint is taken.
            An empty or missing folder means to begin anew, so that the same call begins and goes
            on. Give the same data and settings as before: then the training ends with the same
            bits as one that was never stopped.

        Returns
        -------
        History
            Loss and metrics of every epoch.

        Raises
        ------
        ValueError
            For arguments that do not go together, or data that do not fit the model.
        TypeError
            For data that are no numbers.
        """
        shown = resolve_verbose(verbose)
        check_counts(epochs=epochs, initial_epoch=initial_epoch, validation_freq=validation_freq)
        if resume_from is not None:
            self._load(resume_from)
        weights = (sample_weight, lengths)
        parts = (x, y, *weights)
        validation: Feed | None = None
        checked = Options(validation_batch_size or batch_size, False, validation_steps)
        if validation_data is not None:
            validation = validation_feed(validation_data, checked)
        elif validation_split:
            parts, held_out = split_off(*parts, validation_split)
            validation = open_feed(*held_out, checked)
        self._validation = validation
        options = Options(batch_size, shuffle, steps_per_epoch, epochs - initial_epoch)
        feed = open_feed(*parts, options)
        resumed, self._pending = self._pending, None
        if resumed is None:
            self.history = History()
        params = {"epochs": epochs, "steps": feed.steps, "verbose": shown}
        self.history.params = dict(params)
        self.stop_training = self.interrupted = self.diverged = False
        chain = CallbackList(with_progress(callbacks, shown), self, params)
        self._run = Fit(
            self,
            feed,
            validation,
            max(validation_freq, 1),
            (initial_epoch, epochs),
            chain,
            resolve_class_weights(class_weight, feed, parts[1]),
        )
        if self._advisor is not None:
            weighted = class_weight is not None or sample_weight is not None
            self._advisor.begin(feed, parts[1], weighted)
        try:
            self._run.run(resumed)
        finally:
            self._run = None
            self.current_group.clear()
            self.model.eval()
        return self.history

    # ---- evaluation and prediction ---------------------------------------------------------------

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
        *,
        lengths: Any = None,
    ) -> Any:
        """Loss and metrics over a data set.

        Parameters are those of :meth:`fit`.

        Returns
        -------
        float, list or dict
            The loss; with metrics a list of the loss and each of them; with ``return_dict`` all by
            name.
        """
        feed = open_feed(x, y, sample_weight, lengths, Options(batch_size, steps=steps))
        shown = resolve_verbose(verbose)
        chain = CallbackList(as_list(callbacks), self, {"steps": feed.steps, "verbose": shown})
        chain.call("on_test_begin", {})
        logs = self._evaluated(feed, shown)
        chain.call("on_test_end", logs)
        if return_dict:
            return logs
        return logs["loss"] if len(logs) == 1 else list(logs.values())

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        *,
        lengths: Any = None,
    ) -> Any:
        """Outputs of the model, in the order of the samples.

        Parameters are those of :meth:`fit`. Targets that a loader gives are passed over. A loader
        that shuffles gives outputs in its order.

        Returns
        -------
        numpy.ndarray
            All batches joined; outputs of sequences are filled up with zeros to the longest. Of a
            model that returns a dict, a dict of arrays.
        """
        return self._predicted(x, batch_size, verbose, steps, callbacks, lengths, None)

    def predict_proba(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        *,
        lengths: Any = None,
    ) -> Any:
        """Probabilities: what the loss takes for logits goes through softmax or sigmoid.

        Parameters are those of :meth:`fit`.

        Returns
        -------
        numpy.ndarray
            In the shape of the outputs: one column per class, or with a binary cross-entropy the
            probability of each output being 1.

        Raises
        ------
        ValueError
            If the loss is none of classes.
        """
        if self._objective.kind == "values":
            raise ValueError(
                "[Trainer] predict_proba needs a loss of classes (cross-entropy, NLL or binary "
                "cross-entropy)"
            )
        return self._predicted(x, batch_size, verbose, steps, callbacks, lengths, self._objective)

    def _predicted(
        self,
        x: Any,
        batch_size: int | None,
        verbose: str | int,
        steps: int | None,
        callbacks: Any,
        lengths: Any,
        objective: Objective | None,
    ) -> Any:
        feed = open_feed(x, None, None, lengths, Options(batch_size, steps=steps))
        shown = resolve_verbose(verbose)
        chain = CallbackList(as_list(callbacks), self, {"steps": feed.steps, "verbose": shown})
        chain.call("on_predict_begin", {})
        outputs = []
        with self._inference(), bar_over(feed.epoch(), feed.steps, shown, "predict") as items:
            for item in items:
                batch = as_batch(item, needs_target=False)
                output = prediction_of(call(self.model, batch.x))
                check_rows(output, batch.size)
                outputs.append(probabilities(output, objective) if objective else output)
        if not outputs:
            raise ValueError("[Trainer] there are no batches to predict")
        chain.call("on_predict_end", {})
        return joined(outputs)

    def _evaluated(self, feed: Feed, verbose: int = 0) -> dict[str, Any]:
        meter = Meter(copy.deepcopy(self.metrics), self._objective)
        with self._inference(), bar_over(feed.epoch(), feed.steps, verbose, "evaluate") as items:
            penalty = float(self._penalty()) if self._penalty else 0.0
            for item in items:
                batch = as_batch(item, needs_target=True)
                output = prediction_of(call(self.model, batch.x))
                loss = float(self._objective(output, batch.y, batch.weight)) + penalty
                meter.add(loss, batch.size, output, batch.y)
        if not meter.count:
            raise ValueError("[Trainer] there are no batches to evaluate")
        return meter.logs()

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Evaluation mode, averaged weights, and no gradients; everything is put back."""
        averaged = nullcontext() if self.average is None else self.average.applied()
        with evaluating(self.model), no_grad(), averaged:
            yield

    # ---- report ----------------------------------------------------------------------------------

    def report(
        self,
        path: str | os.PathLike[str],
        validation_data: Any = None,
        *,
        inputs: Any = None,
        class_names: Sequence[object] | None = None,
        tokens: Sequence[object] | None = None,
        title: str | None = None,
    ) -> Path:
        """Write one HTML page about the training and the model, with all pictures in it.

        Learning curves, metrics, confusion matrix and ROC curves of classifiers, the modules with
        shapes and parameters, histograms of weights, filters of convolutions, gradients by layer
        and through time, attention maps, activations, settings, versions, and what was warned of.
        The page holds everything itself: no script, and nothing is fetched from elsewhere. The
        trainer, the model and nervure's random numbers stay as they are.

        Parameters
        ----------
        path : str or PathLike
            The file, ``"report.html"`` say; it is there whole or not at all.
        validation_data : (x, y), (x, y, sample_weight), Dataset or DataLoader, optional
            What is evaluated, and whose first samples gradients, attention and activations are
            shown for. By default the validation data of the last :meth:`fit`; without any, the page
            goes without these.
        inputs : array, tuple or dict of arrays, optional
            Inputs of the model, whose first sample attention and activations are shown for, instead
            of validation data.
        class_names : list of str, optional
            Names of the classes 0, 1, ...
        tokens : list of str, optional
            Words of the first sample, as labels of attention maps.
        title : str, optional
            Heading of the page; the name of the model's class by default.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ImportError
            Without matplotlib, which ``pip install 'nervure[plot]'`` installs.
        ValueError
            For data that do not fit the model, or another number of class names.
        OSError
            If the file cannot be written; what was there before stays.
        """
        from nervure.report import write_report  # not needed to train

        return write_report(self, path, validation_data, inputs, class_names, tokens, title)

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint holds; tensors are shared, not copied."""
        scheduler, average = self.scheduler, self.average
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "average": None if average is None else average.state_dict(),
            "rng": list(_core.rng_state()),
            "step": self.step,
            "history": self.history.state_dict(),
            "run": None if self._run is None else self._run.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; the next ``fit`` goes on from there.

        Raises
        ------
        ValueError
            If model, optimiser, scheduler or averaging are not those of the state.
        """
        for name, mine in (("scheduler", self.scheduler), ("average", self.average)):
            if (state[name] is None) != (mine is None):
                has, lacks = ("the trainer", "the checkpoint")[:: 1 if mine is not None else -1]
                raise ValueError(f"[load_checkpoint] {has} has a {name}, {lacks} has none")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.step = state["step"]
        self.history = History()
        self.history.load_state_dict(state["history"])
        self._set_rng(state["rng"])
        self._pending = None if state["run"] is None else {**state["run"], "rng": state["rng"]}

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to go on: weights, optimiser, schedule, random numbers, place.

        The file is whole or not there at all. It is a safetensors file, in which the weights are
        called ``model.<name>``. Written outside of ``fit``, it has no place to go on from: weights
        and optimiser come back, and the next ``fit`` counts epochs from ``initial_epoch``.

        Raises
        ------
        OSError
            If it cannot be written; what was there before stays.
        """
        checkpoint.write(path, self.state_dict())

    def load_checkpoint(self, path: str | os.PathLike[str]) -> Path:
        """Go back to a checkpoint; the next ``fit`` with the same data goes on from there.

        Parameters
        ----------
        path : str or PathLike
            A file, or a folder whose newest whole checkpoint is taken.

        Returns
        -------
        Path
            The file that was read.

        Raises
        ------
        FileNotFoundError
            If there is no such file, or no checkpoint in the folder.
        FormatError
            If the file is damaged or no checkpoint, or none in the folder is whole.
        ValueError
            If it is of another model, optimiser or schedule.
        """
        found = self._load(path)
        if found is None:
            raise FileNotFoundError(f"[load_checkpoint] no checkpoint in {os.fspath(path)}")
        return found

    def _load(self, path: str | os.PathLike[str]) -> Path | None:
        """Read a file, or the newest of a folder; None for a folder without any."""
        if str(os.fspath(path)).endswith(checkpoint.SUFFIX) or os.path.isfile(path):
            self.load_state_dict(checkpoint.read(path))
            return Path(path)
        newest = checkpoint.read_newest(path)
        if newest is None:
            return None
        self.load_state_dict(newest[1])
        return newest[0]

    @staticmethod
    def _set_rng(state: Sequence[int]) -> None:
        _core.set_rng_state(*state)
