# SPDX-License-Identifier: BSD-3-Clause
"""NeuralNetClassifier and NeuralNetRegressor: any module as an estimator."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight

from nervure import _core, nn, optim
from nervure.nn import Module
from nervure.sklearn import _losses
from nervure.sklearn._base import TRAINING_CONSTRAINTS, NetworkEstimator
from nervure.sklearn._classifier import NetworkClassifier
from nervure.sklearn._data import Samples
from nervure.sklearn._regressor import NetworkRegressor

_OPTIMIZERS: dict[str, Callable[[Any, float], Any]] = {
    "sgd": lambda groups, rate: optim.SGD(groups, rate, momentum=0.9, nesterov=True),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "nadam": optim.NAdam,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}


def two_layers(inputs: int, outputs: int) -> Module:
    """A hidden layer of 100 ReLUs."""
    return nn.Sequential(nn.Linear(inputs, 100, activation="relu"), nn.Linear(100, outputs))


@contextlib.contextmanager
def seeded(rng: Any) -> Iterator[None]:
    """Initial weights and dropout depend on `rng` only, and leave the global generator alone."""
    state = _core.rng_state()
    _core.manual_seed(int(rng.randint(2**31 - 1)))
    try:
        yield
    finally:
        _core.set_rng_state(*state)


class _NeuralNet(NetworkEstimator):
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TRAINING_CONSTRAINTS,
        "module": [callable, None],
        "module_params": [dict, None],
        "loss": [callable, None],
        "optimizer": [StrOptions(set(_OPTIMIZERS)), callable],
    }
    _allow_nd = True

    module: Any
    module_params: Any
    loss: Any
    optimizer: Any
    learning_rate_init: float
    alpha: float

    def _default_module(self, inputs: int, outputs: int) -> Module:
        return two_layers(inputs, outputs)

    def _inputs(self) -> int:
        return int(self.n_features_in_)

    def _make_module(self, rng: Any) -> Module:
        given = self.module
        if isinstance(given, Module):
            if self.module_params:
                raise ValueError("module_params are for a module that is made by a callable")
            return copy.deepcopy(given)
        make = self._default_module if given is None else given
        with seeded(rng):
            module = make(self._inputs(), self.n_outputs_, **(self.module_params or {}))
        if not isinstance(module, Module):
            raise TypeError(f"module must give an nn.Module, got {type(module).__name__}")
        return module

    def _make_optimizer(self) -> Any:
        parameters = [p for p in self.module_.parameters() if p.requires_grad]
        if callable(self.optimizer):
            return self.optimizer(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.alpha},
            {"params": [p for p in parameters if p.ndim <= 1]},
        ]
        groups = [group for group in groups if group["params"]]
        return _OPTIMIZERS[self.optimizer](groups, self.learning_rate_init)

    def _run(self, samples: Samples, rng: Any, incremental: bool) -> None:
        with seeded(rng):
            super()._run(samples, rng, incremental)

    def _loss(self, output: Any, target: Any, weight: Any) -> Any:
        if output.ndim == 1:
            output = output.unsqueeze(1)
        expected = (len(target), self.n_outputs_)
        if tuple(output.shape) != expected:
            raise ValueError(f"module must give outputs {expected}, got {tuple(output.shape)}")
        if self.loss is None:
            return super()._loss(output, target, weight)
        value = self.loss(output, target)
        if value.ndim:
            return _losses.mean(value, weight)
        if weight is not None:
            raise ValueError("loss must give one value per sample for samples to have weights")
        return value

    def _loss_value(self, value: float) -> float:
        return value if self.loss is not None else super()._loss_value(value)

    def _forward(self, x: NDArray[Any]) -> NDArray[np.float32]:
        outputs = super()._forward(x)
        return outputs.reshape(len(outputs), -1)


class NetClassifier(_NeuralNet, NetworkClassifier):
    """A module for labels, whose samples may have weights by their label."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_NeuralNet._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def _with_class_weights(
        self, target: NDArray[Any], weight: NDArray[Any] | None
    ) -> NDArray[Any] | None:
        if self.class_weight is None:
            return weight
        labels = self.classes_[target]
        present = np.unique(labels)
        each = np.zeros(len(self.classes_))
        each[np.searchsorted(self.classes_, present)] = compute_class_weight(
            self.class_weight, classes=present, y=labels
        )
        own = each[target].astype(np.float32)
        return own if weight is None else np.asarray(weight * own)


class NeuralNetClassifier(NetClassifier):
    """Any module as a scikit-learn classifier.

    Parameters
    ----------
    module : callable or Module, optional
        ``module(inputs, outputs, **module_params)`` makes the network: ``inputs`` is the number of
        features, ``outputs`` that of the labels. A module instance is copied for each ``fit``. It
        must map ``(N, ...)`` to scores ``(N, outputs)`` before the softmax. Default: one hidden
        layer of 100 ReLUs.
    module_params : dict, optional
        Further arguments for ``module``.
    loss : callable, optional
        ``loss(scores, target)`` with class numbers ``(N,)``; gives one value per sample or their
        mean. Default: the cross-entropy.
    optimizer : str or callable, default "adam"
        ``"sgd"`` (Nesterov momentum 0.9), ``"adam"``, ``"adamw"``, ``"nadam"``, ``"rmsprop"``,
        ``"adagrad"``, or what makes an optimiser from a list of parameters.
    learning_rate_init : float, default 1e-3
        Learning rate of a named optimiser.
    alpha : float, default 1e-4
        Weight decay of a named optimiser, for all parameters but vectors (biases, scales).
    batch_size : int or "auto", default "auto"
        ``"auto"``: ``min(200, n_samples)``.
    max_iter : int, default 200
        Most epochs.
    class_weight : dict or "balanced", optional
        How much the samples of each label count; ``"balanced"``: inversely to their number.
    shuffle, random_state, tol, verbose, warm_start, early_stopping, validation_fraction, \
    n_iter_no_change
        As in :class:`MLPClassifier`. ``random_state`` also draws initial weights and dropout.

    Attributes
    ----------
    classes_ : ndarray
        The labels.
    module_ : Module
        The trained network.
    optimizer_ : Optimizer
        Its optimiser.
    loss_, loss_curve_, n_iter_, t_, best_loss_, validation_scores_, best_validation_score_
        As in :class:`MLPClassifier`.

    Notes
    -----
    ``X`` may have more than two dimensions, as the module takes it.
    """

    def __init__(
        self,
        module: Callable[..., Module] | Module | None = None,
        *,
        module_params: Mapping[str, Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        optimizer: str | Callable[[Any], Any] = "adam",
        learning_rate_init: float = 0.001,
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        class_weight: Mapping[Any, float] | str | None = None,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
    ) -> None:
        self.module = module
        self.module_params = module_params
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change


class NeuralNetRegressor(_NeuralNet, NetworkRegressor):
    """Any module as a scikit-learn regressor.

    Parameters not listed are as in :class:`NeuralNetClassifier`; early stopping goes by R2.

    Parameters
    ----------
    module : callable or Module, optional
        ``module(inputs, outputs, **module_params)`` makes the network, or a module that is copied;
        it must give ``(N, outputs)``, or ``(N,)`` for one output. Default: one hidden layer of 100
        ReLUs.
    loss : callable, optional
        ``loss(output, target)``, both ``(N, outputs)``; gives one value per sample or their mean.
        Default: half of the squared errors.

    Attributes
    ----------
    module_, optimizer_, loss_, loss_curve_, n_iter_, t_
        As in :class:`NeuralNetClassifier`.
    """

    def __init__(
        self,
        module: Callable[..., Module] | Module | None = None,
        *,
        module_params: Mapping[str, Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        optimizer: str | Callable[[Any], Any] = "adam",
        learning_rate_init: float = 0.001,
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
    ) -> None:
        self.module = module
        self.module_params = module_params
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
