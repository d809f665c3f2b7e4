# SPDX-License-Identifier: BSD-3-Clause
"""All samples at once, by SciPy's L-BFGS-B."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from nervure import _core
from nervure.sklearn._data import Batches, Samples


def minimise(estimator: Any, samples: Samples) -> tuple[float, int]:
    """Fit ``estimator.module_``; gives the loss and the number of iterations."""
    from scipy.optimize import minimize  # comes with scikit-learn

    x, y, weight = Batches(samples, len(samples)).whole()
    share = float(len(x)) if weight is None else float(weight.sum().item())
    layers = list(estimator.module_)
    arrays = [layer.weight.numpy() for layer in layers] + [layer.bias.numpy() for layer in layers]

    def pack(parts: list[NDArray[Any]]) -> NDArray[np.float64]:
        return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float64)

    def unpack(values: NDArray[np.float64]) -> None:
        begin = 0
        for array in arrays:
            array[...] = values[begin : begin + array.size].reshape(array.shape)
            begin += array.size

    def loss_and_gradient(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        unpack(values)
        for layer in layers:
            _core.clear_gradients([layer.weight, layer.bias])
        loss = estimator._loss(estimator.module_(x), y, weight)
        loss.backward()
        slopes = [
            layer.weight.grad.numpy() + (estimator.alpha / share) * layer.weight.numpy()
            for layer in layers
        ]
        slopes += [layer.bias.grad.numpy() for layer in layers]
        value = estimator._loss_value(float(loss.item())) + estimator._penalty() / share
        return value, pack(slopes)

    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    found = minimize(loss_and_gradient, pack(arrays), method="L-BFGS-B", jac=True, options=options)
    unpack(found.x)
    estimator.module_.eval()
    if found.status == 1:  # out of iterations or evaluations
        warnings.warn(
            f"lbfgs failed to converge after {found.nit} iterations; increase max_iter or "
            "max_fun, or scale the data",
            ConvergenceWarning,
            stacklevel=2,
        )
    return float(found.fun), int(found.nit)
