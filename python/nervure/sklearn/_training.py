# SPDX-License-Identifier: BSD-3-Clause
"""The loop that all estimators share: epochs over shuffled batches until nothing improves."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

from nervure import _core
from nervure._core import Tensor
from nervure.sklearn._data import Batches, Samples


def train(estimator: Any, samples: Samples, rng: Any, incremental: bool) -> None:
    """Train ``estimator.module_``, for one epoch when incremental.

    Leaves ``n_iter_``, ``t_``, ``loss_``, ``loss_curve_`` and, with early stopping,
    ``validation_scores_`` behind, and the weights of the best epoch.
    """
    held: Samples | None = None
    if estimator.early_stopping:
        if incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        samples, held = samples.split(
            estimator.validation_fraction, rng, estimator._stratify(samples)
        )
    size = _batch_size(estimator.batch_size, len(samples))
    if size == len(samples):
        samples = samples.as_a_set()
    count = len(samples)
    _start(estimator)
    _epochs(estimator, Batches(samples, min(size, count)), held, rng, incremental)
    if held is not None:
        estimator.module_.load_state_dict(estimator._best_weights)


def _batch_size(asked: Any, samples: int) -> int:
    if asked == "auto":
        return min(200, samples)
    if asked > samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=2,
        )
    return int(min(asked, samples))


def _start(estimator: Any) -> None:
    if hasattr(estimator, "loss_curve_"):
        return
    estimator.loss_curve_ = []
    estimator.t_ = 0
    estimator._no_improvement = 0
    stopping = estimator.early_stopping
    estimator.best_loss_ = None if stopping else np.inf
    estimator.validation_scores_ = [] if stopping else None
    estimator.best_validation_score_ = -np.inf if stopping else None


def _epochs(
    estimator: Any, batches: Batches, held: Samples | None, rng: Any, incremental: bool
) -> None:
    count = len(batches)
    order = np.arange(count)
    estimator.module_.train()
    estimator.n_iter_ = 0
    try:
        for _ in range(estimator.max_iter):
            if count <= batches.size:
                loss = _step(estimator, *batches.whole())
            else:
                if estimator.shuffle:
                    order = shuffle(order, random_state=rng)
                loss = _epoch(estimator, batches, order)
            estimator.n_iter_ += 1
            estimator.t_ += count
            estimator.loss_ = loss
            estimator.loss_curve_.append(loss)
            if estimator.verbose:
                print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
            _look_for_improvement(estimator, held)
            estimator._epoch_ends()
            if estimator._no_improvement > estimator.n_iter_no_change:
                if _stops(estimator):
                    break
                estimator._no_improvement = 0
            if incremental:
                break
            if estimator.n_iter_ == estimator.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
                    "the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
    finally:
        estimator.module_.eval()


def _epoch(estimator: Any, batches: Batches, order: Any) -> float:
    total, size, count = 0.0, batches.size, len(batches)
    rows = _core.tensor(order)
    begin = 0
    while begin < count:
        end = min(begin + size, count)
        if end == count - 1 and estimator._no_batch_of_one:
            end = count
        total += _step(estimator, *batches.rows(rows[begin:end])) * (end - begin)
        begin = end
    return total / count


def _step(estimator: Any, x: Tensor, y: Tensor, weight: Tensor | None) -> float:
    share = float(len(x)) if weight is None else float(weight.sum().item())
    if not share:  # nobody in this batch counts
        return 0.0
    optimizer = estimator.optimizer_
    penalty = estimator._before_step(share)
    optimizer.zero_grad()
    loss = estimator._loss(estimator.module_(x), y, weight)
    loss.backward()
    value = float(loss.item())
    estimator._before_update()
    optimizer.step()
    return float(estimator._loss_value(value) + penalty)


def _look_for_improvement(estimator: Any, held: Samples | None) -> None:
    if held is None:
        loss = estimator.loss_
        worse = loss > estimator.best_loss_ - estimator.tol
        estimator.best_loss_ = min(estimator.best_loss_, loss)
    else:
        estimator.module_.eval()
        score = estimator._validation_score(held)
        estimator.module_.train()
        estimator.validation_scores_.append(score)
        worse = score < estimator.best_validation_score_ + estimator.tol
        if score > estimator.best_validation_score_ or len(estimator.validation_scores_) == 1:
            estimator.best_validation_score_ = score
            state = estimator.module_.state_dict()
            estimator._best_weights = {k: np.array(v.numpy()) for k, v in state.items()}
        if estimator.verbose:
            print(f"Validation score: {score:f}")
    estimator._no_improvement = estimator._no_improvement + 1 if worse else 0


def _stops(estimator: Any) -> bool:
    what = "Validation score" if estimator.early_stopping else "Training loss"
    message = (
        f"{what} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change} consecutive epochs."
    )
    stops, cure = estimator._without_improvement()
    if estimator.verbose:
        print(f"{message} {cure}")
    return bool(stops)
