# SPDX-License-Identifier: BSD-3-Clause
"""What all estimators share: checking data, fitting, predicting, pickling."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from nervure import _core
from nervure.nn import Module
from nervure.sklearn import _losses
from nervure.sklearn._data import Samples, float32
from nervure.sklearn._state import freeze, thaw
from nervure.sklearn._training import train

Array = NDArray[Any]

TRAINING_CONSTRAINTS: dict[str, list[Any]] = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "n_iter_no_change": [
        Interval(Integral, 1, None, closed="left"),
        Options(Real, {np.inf}),
    ],
}


class NetworkEstimator(BaseEstimator):
    """Fits ``module_`` with ``optimizer_``."""

    _parameter_constraints: ClassVar[dict[str, Any]] = TRAINING_CONSTRAINTS

    # All predictions are made for this many rows at a time, the last ones filled up with zeros:
    # the sums of a matrix product are taken in another order for other numbers of rows, and a
    # prediction must not depend on what else is predicted.
    _rows_at_once = 64
    _allow_nd = False
    # Whether a sample left over joins the last batch: alone it has no variance to normalise by.
    _no_batch_of_one = False

    module_: Any
    early_stopping: bool
    warm_start: bool
    random_state: Any

    # ---- what estimators say about themselves ----------------------------------------------------

    def _make_module(self, rng: Any) -> Module:
        raise NotImplementedError

    def _make_optimizer(self) -> Any:
        raise NotImplementedError

    def _targets(self, y: Any, incremental: bool, reset: bool) -> Array:
        """Checked targets as the loss takes them."""
        raise NotImplementedError

    def _validation_score(self, held: Samples) -> float:
        raise NotImplementedError

    def _stratify(self, samples: Samples) -> bool:
        return False

    def _loss(self, output: Any, target: Any, weight: Any) -> Any:
        raise NotImplementedError

    def _before_step(self, share: float) -> float:
        """Set up the step of a batch of this weight; gives the penalty on the weights."""
        return 0.0

    def _before_update(self) -> None:
        """Change the gradients."""

    def _loss_value(self, value: float) -> float:
        return value

    def _epoch_ends(self) -> None:
        """Change the learning rate."""

    def _without_improvement(self) -> tuple[bool, str]:
        """Whether to stop, and the end of the message."""
        return True, "Stopping."

    def _shaped(self, x: Array) -> Array:
        """The features as the module takes them."""
        return x

    # ---- fitting ---------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        first = not hasattr(self, "module_") or (not self.warm_start and not incremental)
        X, y = validate_data(
            self,
            X,
            y,
            multi_output=True,
            allow_nd=self._allow_nd,
            dtype=(np.float32, np.float64),
            y_numeric=isinstance(self, RegressorMixin),
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = self._targets(y, incremental, first)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            weight = weight.astype(np.float32)
        weight = self._with_class_weights(target, weight)
        shaped = self._shaped(float32(X))
        samples = Samples(shaped, target, weight)
        rng = check_random_state(self.random_state)
        if first:
            self._forget()
            self._sample_shape = shaped.shape[1:]
            self.module_ = self._make_module(rng)
        self._check_shape(shaped)
        if first or not incremental:
            self.optimizer_ = self._make_optimizer()
        self._run(samples, rng, incremental)
        self._check_weights()
        return self

    def _run(self, samples: Samples, rng: Any, incremental: bool) -> None:
        train(self, samples, rng, incremental)

    def _with_class_weights(self, target: Array, weight: Array | None) -> Array | None:
        return weight

    def _forget(self) -> None:
        for name in ("loss_curve_", "_best_weights"):
            if hasattr(self, name):
                delattr(self, name)

    def _check_weights(self) -> None:
        for parameter in self.module_.parameters():
            if not np.isfinite(parameter.numpy()).all():
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain "
                    "large values and need to be preprocessed."
                )

    # ---- predicting ------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> NDArray[np.float32]:
        """What the module gives for checked data, ``(N, outputs)``."""
        check_is_fitted(self)
        X = validate_data(
            self, X, allow_nd=self._allow_nd, dtype=(np.float32, np.float64), reset=False
        )
        shaped = self._shaped(float32(X))
        self._check_shape(shaped)
        return self._forward(shaped)

    def _check_shape(self, x: Array) -> None:
        if x.shape[1:] != self._sample_shape:
            raise ValueError(
                f"X must hold samples of shape {self._sample_shape} as in fit, got {x.shape[1:]}"
            )

    def _forward(self, x: Array) -> NDArray[np.float32]:
        rows, parts = self._rows_at_once, []
        enabled = _core.grad_enabled()
        _core.set_grad_enabled(False)
        try:
            for begin in range(0, len(x), rows):
                part = np.ascontiguousarray(x[begin : begin + rows])
                if len(part) < rows:
                    filling = np.zeros((rows - len(part), *x.shape[1:]), np.float32)
                    part = np.concatenate([part, filling])
                parts.append(self.module_(_core.tensor(part)).numpy())
        finally:
            _core.set_grad_enabled(enabled)
        return np.concatenate(parts)[: len(x)]

    # ---- pickling --------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return freeze(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(thaw(state))


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """Labels in, labels out. Subclasses say whether two classes take one output."""

    _one_output_for_two = False
    _multilabel = False
    class_weight: Any = None

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Train on ``X`` and the labels ``y``.

        Parameters
        ----------
        X : array-like, (n_samples, n_features)
            Features; pandas frames keep their names in ``feature_names_in_``.
        y : array-like, (n_samples,)
            Labels of any kind.
        sample_weight : array-like, (n_samples,), optional
            How much each sample counts.

        Returns
        -------
        self
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=False)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Any:
        """Train for one epoch on these samples, further from where it is.

        ``classes`` must name all labels at the first call. Other parameters as for :meth:`fit`.
        """
        self._validate_params()
        if not hasattr(self, "module_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._set_classes(np.asarray(y) if np.ndim(y) == 2 else unique_labels(classes))
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{self.classes_!r}"
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def _set_classes(self, labels: Any) -> None:
        self._binarizer = LabelBinarizer().fit(labels)
        self.classes_ = self._binarizer.classes_

    def _targets(self, y: Any, incremental: bool, reset: bool) -> Array:
        check_classification_targets(y)
        if y.ndim == 2 and not self._multilabel:
            raise ValueError(f"y must be labels (n_samples,), got {y.shape}")
        if not incremental and reset:
            self._set_classes(y)
        else:
            self._check_classes(unique_labels(y), incremental)
        self.n_outputs_ = len(self.classes_)
        several = self._binarizer.y_type_.startswith("multilabel")
        if not several and self._one_output_for_two and len(self.classes_) <= 2:
            self.n_outputs_ = 1
        if several or self.n_outputs_ == 1 < len(self.classes_) or self._one_output_for_one():
            table = self._binarizer.transform(y)
            return np.asarray(table.reshape(len(y), -1), dtype=np.float32)
        return np.asarray(np.searchsorted(self.classes_, y), dtype=np.int64)

    def _one_output_for_one(self) -> bool:
        return self._one_output_for_two and len(self.classes_) == 1

    def _check_classes(self, seen: Any, incremental: bool) -> None:
        if not incremental and set(seen) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {seen}"
            )
        if np.setdiff1d(seen, self.classes_).size:
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {seen}."
            )

    def _loss(self, output: Any, target: Any, weight: Any) -> Any:
        loss = _losses.classes if target.ndim == 1 else _losses.labels
        return loss(output, target, weight)

    def _stratify(self, samples: Samples) -> bool:
        return samples.y.ndim == 1 or samples.y.shape[1] == 1

    def _validation_score(self, held: Samples) -> float:
        truth = held.y
        if self._is_table():
            prediction = self._forward(held.x) > 0
            score = accuracy_score(truth > 0, prediction, sample_weight=held.weight)
        else:
            prediction = self._forward(held.x).argmax(axis=1)
            score = accuracy_score(truth, prediction, sample_weight=held.weight)
        return float(score)

    def _is_table(self) -> bool:
        """Whether outputs are yes or no each, not classes that exclude each other."""
        several = self._binarizer.y_type_.startswith("multilabel")
        return bool(several or (self._one_output_for_two and self.n_outputs_ == 1))

    def predict(self, X: ArrayLike) -> Array:
        """Give the most probable label of each sample, ``(n_samples,)``."""
        return self._chosen(self._outputs(X))

    def _chosen(self, scores: NDArray[np.float32]) -> Array:
        if not self._is_table():
            return np.asarray(self.classes_[scores.argmax(axis=1)])
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(scores))
        if self.n_outputs_ == 1:
            return np.asarray(self.classes_[(scores[:, 0] > 0).astype(np.int64)])
        return np.asarray(scores > 0, dtype=np.int64)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Give the probability of each class, ``(n_samples, n_classes)``, as in ``classes_``."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Give the logarithms of :meth:`predict_proba`, exact where those round to 0 or 1."""
        scores = self._outputs(X).astype(np.float64)
        if not self._is_table():
            scores -= scores.max(axis=1, keepdims=True)
            scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
            return scores
        if len(self.classes_) == 1:
            return np.zeros((len(scores), 1))
        yes = -np.logaddexp(0.0, -scores)
        if self.n_outputs_ == 1:
            return np.concatenate([-np.logaddexp(0.0, scores), yes], axis=1)
        return np.asarray(yes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self._multilabel
        tags.input_tags.three_d_array = self._allow_nd
        return tags


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """Numbers in, numbers out."""

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Train on ``X`` and the numbers ``y``.

        Parameters
        ----------
        X : array-like, (n_samples, n_features)
            Features; pandas frames keep their names in ``feature_names_in_``.
        y : array-like, (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like, (n_samples,), optional
            How much each sample counts.

        Returns
        -------
        self
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=False)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Train for one epoch on these samples, further from where it is; as :meth:`fit`."""
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)

    def _targets(self, y: Any, incremental: bool, reset: bool) -> Array:
        target = float32(np.asarray(y, dtype=np.float64), "y").reshape(len(y), -1)
        if reset:
            self.n_outputs_ = target.shape[1]
            self._flat = y.ndim == 1
        elif target.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y must have {self.n_outputs_} outputs as before, got {target.shape[1]}"
            )
        return target

    def _loss(self, output: Any, target: Any, weight: Any) -> Any:
        return _losses.squares(output, target, weight)

    def _loss_value(self, value: float) -> float:
        return value / self.n_outputs_  # the gradient adds outputs, the loss is their mean

    def _validation_score(self, held: Samples) -> float:
        prediction = self._numbers(self._forward(held.x))
        if not np.isfinite(prediction).all():
            return float("nan")
        return float(r2_score(held.y, prediction, sample_weight=held.weight))

    def _numbers(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        return outputs.astype(np.float64)

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Give the targets of each sample, in the shape of ``y``."""
        values = self._numbers(self._outputs(X))
        return values[:, 0] if self._flat else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = self._allow_nd
        return tags
