# SPDX-License-Identifier: BSD-3-Clause
"""Labels in, labels and probabilities out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from nervure.sklearn import _losses
from nervure.sklearn._base import Array, NetworkEstimator
from nervure.sklearn._data import Samples


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
