# SPDX-License-Identifier: BSD-3-Clause
"""MLPClassifier and MLPRegressor, with scikit-learn's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from nervure.sklearn import _losses
from nervure.sklearn._classifier import NetworkClassifier
from nervure.sklearn._data import Samples
from nervure.sklearn._mlp_base import MLP, takes_steps
from nervure.sklearn._regressor import NetworkRegressor


class MLPClassifier(NetworkClassifier, MLP):
    """Multi-layer perceptron for labels, with the parameters of scikit-learn's class of that name.

    Same initial weights, batches and steps as scikit-learn's for the same ``random_state``, in
    float32: it learns the same network, several times faster.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int or int, default (100,)
        Sizes of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default "relu"
        Of the hidden layers.
    solver : {"adam", "sgd", "lbfgs"}, default "adam"
        ``"lbfgs"`` works on all samples at once (SciPy's L-BFGS-B).
    alpha : float, default 1e-4
        L2 penalty ``alpha / 2 * sum w^2`` on the weights, per sample of a batch as in scikit-learn.
    batch_size : int or "auto", default "auto"
        ``"auto"``: ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        For ``"sgd"``: ``"invscaling"`` divides by ``t^power_t``; ``"adaptive"`` divides by 5 when
        nothing improves.
    learning_rate_init : float, default 1e-3
        First learning rate.
    power_t : float, default 0.5
        Exponent of ``"invscaling"``.
    max_iter : int, default 200
        Most epochs (for ``"lbfgs"`` iterations).
    shuffle : bool, default True
        Whether to shuffle the samples before each epoch.
    random_state : int, RandomState or None
        For initial weights, batches and the validation part.
    tol, n_iter_no_change : float, default 1e-4; int, default 10
        Training ends after so many epochs without an improvement by ``tol``.
    verbose : bool, default False
        Whether to print the loss of each epoch.
    warm_start : bool, default False
        Whether ``fit`` goes on from the last solution.
    momentum, nesterovs_momentum : float, default 0.9; bool, default True
        For ``"sgd"``.
    early_stopping, validation_fraction : bool, default False; float, default 0.1
        Whether to hold out that share and to stop by its accuracy; the best weights are kept.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        For ``"adam"``.
    max_fun : int, default 15000
        Most evaluations for ``"lbfgs"``.

    Attributes
    ----------
    classes_ : ndarray
        The labels.
    coefs_, intercepts_ : list of ndarray
        Weights ``(inputs, outputs)`` and biases.
    module_ : nervure.nn.Sequential
        The network; gives scores before the softmax or the sigmoid.
    loss_, best_loss_, loss_curve_, n_iter_, t_, validation_scores_, best_validation_score_
        As in scikit-learn.

    Notes
    -----
    When a batch holds all samples they are trained on as a set: their order does not matter, and
    repeating a sample is the same as giving it that ``sample_weight``, to the last bit. Sparse
    features are not taken.
    """

    _one_output_for_two = True
    _multilabel = True

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def _out_activation(self) -> str:
        return "logistic" if self._is_table() else "softmax"

    def _stratify(self, samples: Samples) -> bool:
        return self.n_outputs_ == 1  # as scikit-learn does

    @available_if(takes_steps)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Any:
        """Train for one epoch on these samples, further from where it is.

        ``classes`` must name all labels at the first call. Other parameters as for :meth:`fit`.
        Not for ``solver="lbfgs"``.
        """
        return super().partial_fit(X, y, sample_weight, classes)


class MLPRegressor(NetworkRegressor, MLP):
    """Multi-layer perceptron for numbers, with the parameters of scikit-learn's class of that name.

    Those not listed are as in :class:`MLPClassifier`; early stopping goes by R2.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default "squared_error"
        Half of the squared errors, or half of the Poisson deviance of ``exp(output)``, for targets
        that are not negative.

    Attributes
    ----------
    coefs_, intercepts_, module_, loss_, best_loss_, loss_curve_, n_iter_, t_
        As in :class:`MLPClassifier`.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Sequence[int] | int = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def _out_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _targets(self, y: Any, incremental: bool, reset: bool) -> NDArray[Any]:
        target = super()._targets(y, incremental, reset)
        if self.loss == "poisson" and (target < 0).any():
            raise ValueError("y must not be negative for loss='poisson'")
        return target

    def _loss(self, output: Any, target: Any, weight: Any) -> Any:
        if self.loss == "poisson":
            return _losses.poisson(output, target, weight) + self._constant(target, weight)
        return super()._loss(output, target, weight)

    def _constant(self, target: Any, weight: Any) -> float:
        """What the deviance of a perfect prediction lacks of 0."""
        y = target.numpy().astype(np.float64)
        terms = (np.where(y > 0, y * np.log(np.where(y > 0, y, 1)), 0) - y).sum(axis=1)
        return float(np.average(terms, weights=None if weight is None else weight.numpy()))

    def _loss_value(self, value: float) -> float:
        return value if self.loss == "poisson" else super()._loss_value(value)

    def _numbers(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        values = outputs.astype(np.float64)
        return np.exp(values) if self.loss == "poisson" else values

    @available_if(takes_steps)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Train for one epoch on these samples; as :meth:`fit`. Not for ``solver="lbfgs"``."""
        return super().partial_fit(X, y, sample_weight)
