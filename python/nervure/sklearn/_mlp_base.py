# SPDX-License-Identifier: BSD-3-Clause
"""What both perceptrons share: scikit-learn's initial weights and its steps."""

from __future__ import annotations

import itertools
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from nervure import nn, optim
from nervure.sklearn._base import TRAINING_CONSTRAINTS, NetworkEstimator
from nervure.sklearn._data import Samples
from nervure.sklearn._lbfgs import minimise

_ACTIVATIONS = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def takes_steps(estimator: Any) -> bool:
    """Whether there is a ``partial_fit``."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


class MLP(NetworkEstimator):
    """Dense layers, scikit-learn's solvers."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TRAINING_CONSTRAINTS,
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
    }

    # Parameters, as the constructors of the subclasses set them.
    hidden_layer_sizes: Any
    activation: str
    solver: str
    alpha: float
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    tol: float
    verbose: Any
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    max_fun: int

    # ---- the network -----------------------------------------------------------------------------

    module_: nn.Sequential

    def _make_module(self, rng: Any) -> nn.Sequential:
        hidden = self.hidden_layer_sizes
        sizes = [int(size) for size in (hidden if np.iterable(hidden) else [hidden])]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        sizes = [self.n_features_in_, *sizes, self.n_outputs_]
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._out_activation()
        fused = _ACTIVATIONS[self.activation]
        layers = []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            last = i == len(sizes) - 2
            layer = nn.Linear(fan_in, fan_out, activation=None if last else fused)
            self._initialise(layer, rng)
            layers.append(layer)
        return nn.Sequential(*layers)

    def _initialise(self, layer: nn.Linear, rng: Any) -> None:
        """Glorot and Bengio's uniform values, drawn in scikit-learn's order."""
        fan_in, fan_out = layer.in_features, layer.out_features
        bound = np.sqrt((2.0 if self.activation == "logistic" else 6.0) / (fan_in + fan_out))
        weight = rng.uniform(-bound, bound, (fan_in, fan_out))
        bias = rng.uniform(-bound, bound, fan_out)
        layer.load_state_dict({"weight": weight.T, "bias": bias})

    def _out_activation(self) -> str:
        raise NotImplementedError

    @property
    def coefs_(self) -> list[NDArray[np.float32]]:
        """The weight matrices, ``(inputs, outputs)`` each; they share the network's memory."""
        return [layer.weight.numpy().T for layer in self._layers()]

    @property
    def intercepts_(self) -> list[NDArray[np.float32]]:
        """The biases, ``(outputs,)`` each; they share the network's memory."""
        return [layer.bias.numpy() for layer in self._layers()]

    def _layers(self) -> list[Any]:
        if not hasattr(self, "module_"):
            raise AttributeError(f"This {type(self).__name__} instance is not fitted yet.")
        layers: list[Any] = list(self.module_)
        return layers

    # ---- steps -----------------------------------------------------------------------------------

    def _make_optimizer(self) -> Any:
        groups = [
            {"params": [layer.weight for layer in self._layers()]},
            {"params": [layer.bias for layer in self._layers()]},
        ]
        if self.solver == "lbfgs":
            return None
        if self.solver == "adam":
            betas = (float(self.beta_1), float(self.beta_2))
            return optim.Adam(groups, self.learning_rate_init, betas, self.epsilon)
        nesterov = self.nesterovs_momentum and self.momentum > 0
        return optim.SGD(
            groups, self.learning_rate_init, momentum=float(self.momentum), nesterov=nesterov
        )

    def _before_step(self, share: float) -> float:
        self.optimizer_.param_groups[0]["weight_decay"] = self.alpha / share
        return self._penalty() / share

    def _penalty(self) -> float:
        if not self.alpha:
            return 0.0
        flat = (weight.reshape(-1) for weight in self.coefs_)
        return float(0.5 * self.alpha * sum(float(np.dot(w, w)) for w in flat))

    def _epoch_ends(self) -> None:
        if self.solver == "sgd" and self.learning_rate == "invscaling":
            self._set_rate(self.learning_rate_init / (self.t_ + 1) ** self.power_t)

    def _without_improvement(self) -> tuple[bool, str]:
        if self.solver != "sgd" or self.learning_rate != "adaptive":
            return True, "Stopping."
        rate = self.optimizer_.param_groups[0]["lr"]
        if rate <= 1e-6:
            return True, "Learning rate too small. Stopping."
        self._set_rate(rate / 5)
        return False, f"Setting learning rate to {rate / 5:f}"

    def _set_rate(self, rate: float) -> None:
        """Change the learning rate; what has momentum keeps its speed, as in scikit-learn."""
        for group in self.optimizer_.param_groups:
            for parameter in group["params"]:
                state = self.optimizer_.state.get(parameter, {})
                if state.get("momentum_buffer") is not None:
                    state["momentum_buffer"].numpy()[...] *= group["lr"] / rate
            group["lr"] = rate

    def _run(self, samples: Samples, rng: Any, incremental: bool) -> None:
        if self.solver != "lbfgs":
            super()._run(samples, rng, incremental)
            return
        samples = samples.as_a_set()
        self.loss_, self.n_iter_ = minimise(self, samples)
