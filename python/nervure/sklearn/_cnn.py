# SPDX-License-Identifier: BSD-3-Clause
"""CNNClassifier: a convolutional network of the usual form as an estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from nervure import nn
from nervure.nn import Module
from nervure.sklearn._neural_net import NetClassifier


class CNNClassifier(NetClassifier):
    """Convolutions, pooling and dense layers for images, or for rows of numbers.

    For each entry of ``channels``: a convolution that keeps the size, batch normalisation, ReLU,
    and max pooling where there is enough left to pool; then dense layers.

    Parameters
    ----------
    channels : sequence of int, default (16, 32)
        Output channels of the convolutions.
    kernel_size : int, default 3
        Of all convolutions.
    pool_size : int, default 2
        Of all pooling windows; 1 pools nothing.
    hidden_layer_sizes : sequence of int, default (64,)
        Sizes of the dense layers before the last.
    batch_norm : bool, default True
        Whether to normalise after each convolution.
    dropout : float, default 0.0
        Probability with which inputs of dense layers are dropped in training.
    input_shape : sequence of int, optional
        ``(channels, height, width)`` or ``(height, width)`` of the images in the rows of a table
        ``X``. Default: the features of a row are the steps of a signal with one channel.
    optimizer, learning_rate_init, alpha, batch_size, max_iter, class_weight, shuffle
        As in :class:`NeuralNetClassifier`.
    random_state, tol, verbose, warm_start, early_stopping, validation_fraction, n_iter_no_change
        As in :class:`NeuralNetClassifier`.

    Attributes
    ----------
    classes_, module_, optimizer_, loss_, loss_curve_, n_iter_, t_
        As in :class:`NeuralNetClassifier`.

    Notes
    -----
    ``X`` is ``(N, channels, height, width)``, ``(N, height, width)`` with one channel, or a table
    ``(N, features)``. Pixels should be scaled to about -1 .. 1.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{k: v for k, v in NetClassifier._parameter_constraints.items()
           if k not in ("module", "module_params", "loss")},
        "channels": ["array-like"],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "pool_size": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "batch_norm": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "input_shape": ["array-like", None],
    }  # fmt: skip
    _rows_at_once = 16
    _no_batch_of_one = True

    module = None
    module_params = None
    loss = None

    def __init__(
        self,
        channels: Sequence[int] = (16, 32),
        *,
        kernel_size: int = 3,
        pool_size: int = 2,
        hidden_layer_sizes: Sequence[int] = (64,),
        batch_norm: bool = True,
        dropout: float = 0.0,
        input_shape: Sequence[int] | None = None,
        optimizer: str | Any = "adam",
        learning_rate_init: float = 0.001,
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        max_iter: int = 50,
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
        self.channels = channels
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.hidden_layer_sizes = hidden_layer_sizes
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.input_shape = input_shape
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

    def _shaped(self, x: NDArray[Any]) -> NDArray[Any]:
        if x.ndim > 4:
            raise ValueError(f"X must have 2, 3 or 4 dimensions, got {x.shape}")
        if x.ndim == 4:
            return x
        if x.ndim == 3 or self.input_shape is None:
            return x[:, None]
        shape = tuple(int(size) for size in self.input_shape)
        if len(shape) not in (2, 3) or int(np.prod(shape)) != x.shape[1]:
            raise ValueError(
                f"input_shape must be (channels, height, width) or (height, width) of {x.shape[1]} "
                f"features, got {self.input_shape}"
            )
        return x.reshape(-1, *((1, *shape) if len(shape) == 2 else shape))

    def _default_module(self, inputs: int, outputs: int) -> Module:
        size, *axes = self._sample_shape
        conv, pool, norm = (
            (nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d)
            if len(axes) == 2
            else (nn.Conv1d, nn.MaxPool1d, nn.BatchNorm1d)
        )
        layers: list[Module] = []
        for channels in self.channels:
            bias = not self.batch_norm  # whose mean would take it away again
            layers.append(conv(size, channels, self.kernel_size, padding="same", bias=bias))
            layers += [norm(channels), nn.ReLU()] if self.batch_norm else [nn.ReLU()]
            window = [min(self.pool_size, axis) for axis in axes]
            if max(window) > 1:
                layers.append(pool(window))
                axes = [axis // w for axis, w in zip(axes, window, strict=True)]
            size = channels
        layers.append(nn.Flatten())
        features = size * int(np.prod(axes))
        drop: list[Module] = [nn.Dropout(self.dropout)] if self.dropout else []
        for hidden in self.hidden_layer_sizes:
            layers += [*drop, nn.Linear(features, hidden, activation="relu")]
            features = hidden
        return nn.Sequential(*layers, *drop, nn.Linear(features, outputs))
