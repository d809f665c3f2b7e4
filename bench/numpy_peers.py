# SPDX-License-Identifier: BSD-3-Clause
"""The NumPy contestants: written as fast as NumPy allows, in place and without allocations.

(``nervure.reference`` is NumPy written to be read; it is no contestant.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data import Floats

BLOCK = 1 << 14  # elements whose working arrays stay in the L1 and L2 caches


def sigmoid(x: Floats, out: Floats) -> Floats:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    return np.reciprocal(out, out=out)


def gelu_tanh(x: Floats, out: Floats) -> Floats:
    """``x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``"""
    np.multiply(x, x, out=out)
    out *= np.float32(0.044715)
    out += 1
    out *= x
    out *= np.float32(np.sqrt(2 / np.pi))
    np.tanh(out, out=out)
    out += 1
    out *= x
    out *= np.float32(0.5)
    return out


def softmax(x: Floats, out: Floats) -> Floats:
    """Of each row."""
    np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)
    return out


def cross_entropy_and_gradient(
    logits: Floats, target: NDArray[np.int64], out: Floats
) -> tuple[np.float32, Floats]:
    """Mean loss, and its gradient in ``out``, which may be ``logits``."""
    row = np.arange(len(logits))
    np.subtract(logits, logits.max(axis=1, keepdims=True), out=out)
    own = out[row, target]
    np.exp(out, out=out)
    total = out.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - own)
    out *= np.float32(1 / len(logits)) / total
    out[row, target] -= np.float32(1 / len(logits))
    return loss, out


def _blocks(n: int, *arrays: Floats) -> Iterator[list[Floats]]:
    """The arrays cut into blocks, and one working array per block."""
    work = np.empty(min(n, BLOCK), np.float32)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        yield [*(array[start:stop] for array in arrays), work[: stop - start]]


class NumpyAdam:
    """Adam over one flat array, block by block: only the first touch of a block goes to memory."""

    def __init__(
        self, n: int, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.first, self.second = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self.steps = 0

    def step(self, parameters: Floats, gradients: Floats) -> None:
        self.steps += 1
        beta1, beta2 = self.betas
        size = self.lr / (1 - beta1**self.steps)
        root = np.sqrt(1 - beta2**self.steps)
        arrays = (parameters, gradients, self.first, self.second)
        for p, g, m, v, work in _blocks(parameters.size, *arrays):
            np.subtract(g, m, out=work)
            work *= np.float32(1 - beta1)
            m += work
            np.multiply(g, g, out=work)
            work -= v
            work *= np.float32(1 - beta2)
            v += work
            np.sqrt(v, out=work)
            work *= np.float32(1 / root)
            work += np.float32(self.eps)
            np.divide(m, work, out=work)
            work *= np.float32(size)
            p -= work


class NumpySgd:
    """SGD with momentum, as :class:`NumpyAdam`."""

    def __init__(self, n: int, lr: float, momentum: float) -> None:
        self.lr, self.momentum = lr, momentum
        self.velocity = np.zeros(n, np.float32)

    def step(self, parameters: Floats, gradients: Floats) -> None:
        for p, g, v, work in _blocks(parameters.size, parameters, gradients, self.velocity):
            v *= np.float32(self.momentum)
            v += g
            np.multiply(v, np.float32(self.lr), out=work)
            p -= work


class NumpyRmsprop:
    """RMSprop without momentum, as :class:`NumpyAdam`."""

    def __init__(self, n: int, lr: float, alpha: float = 0.99, eps: float = 1e-8) -> None:
        self.lr, self.alpha, self.eps = lr, alpha, eps
        self.square = np.zeros(n, np.float32)

    def step(self, parameters: Floats, gradients: Floats) -> None:
        for p, g, v, work in _blocks(parameters.size, parameters, gradients, self.square):
            np.multiply(g, g, out=work)
            work -= v
            work *= np.float32(1 - self.alpha)
            v += work
            np.sqrt(v, out=work)
            work += np.float32(self.eps)
            np.divide(g, work, out=work)
            work *= np.float32(self.lr)
            p -= work


class NumpyMLP:
    """A dense ReLU network with softmax cross-entropy and Adam.

    One flat array holds the parameters and another the gradients; activations live in buffers for
    one batch size. A weight lies as (in, out), which OpenBLAS multiplies fastest.

    Parameters
    ----------
    layers
        ``(weight (out, in), bias (out,))`` of each layer, copied.
    batch
        Samples per step.
    """

    def __init__(
        self, layers: Sequence[tuple[NDArray[Any], NDArray[Any]]], batch: int, lr: float = 1e-3
    ) -> None:
        self._shapes = [weight.shape[::-1] for weight, _ in layers]
        self.parameters = np.concatenate(
            [part.ravel() for weight, bias in layers for part in (weight.T, bias)]
        ).astype(np.float32)
        self.gradients = np.empty_like(self.parameters)
        self.layers = self._views(self.parameters)
        self._layer_gradients = self._views(self.gradients)
        self._outputs = [np.empty((batch, n), np.float32) for _, n in self._shapes]
        self._deltas = [np.empty((batch, n), np.float32) for n, _ in self._shapes[1:]]
        self._active = [np.empty((batch, n), bool) for n, _ in self._shapes[1:]]
        self._adam = NumpyAdam(self.parameters.size, lr)

    def _views(self, flat: Floats) -> list[tuple[Floats, Floats]]:
        views, start = [], 0
        for shape in self._shapes:
            middle = start + shape[0] * shape[1]
            end = middle + shape[1]
            views.append((flat[start:middle].reshape(shape), flat[middle:end]))
            start = end
        return views

    def step(self, x: Floats, target: NDArray[np.int64]) -> float:
        """One training step; returns the loss before it."""
        inputs = [x]
        for (weight, bias), y in zip(self.layers, self._outputs, strict=True):
            np.matmul(inputs[-1], weight, out=y)
            y += bias
            if y is not self._outputs[-1]:
                np.maximum(y, 0, out=y)
            inputs.append(y)
        loss, dy = cross_entropy_and_gradient(inputs[-1], target, inputs[-1])
        for i in reversed(range(len(self.layers))):
            d_weight, d_bias = self._layer_gradients[i]
            np.matmul(inputs[i].T, dy, out=d_weight)
            np.sum(dy, axis=0, out=d_bias)
            if i > 0:
                dy = np.matmul(dy, self.layers[i][0].T, out=self._deltas[i - 1])
                np.greater(inputs[i], 0, out=self._active[i - 1])
                dy *= self._active[i - 1]
        self._adam.step(self.parameters, self.gradients)
        return float(loss)
