# SPDX-License-Identifier: BSD-3-Clause
"""Outputs of layers, attention weights, and gradients of parameters, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nervure import _core
from nervure._core import Tensor
from nervure._grad_mode import no_grad
from nervure.models.vit import Attention as PackedAttention
from nervure.nn import AdditiveAttention, DotAttention, Module, MultiheadAttention
from nervure.nn import functional as F
from nervure.nn._watch import evaluating, watched

ATTENTION = (AdditiveAttention, DotAttention, MultiheadAttention, PackedAttention)

Arrays = dict[str, NDArray[Any]]


def activations(
    model: Module, *inputs: Any, layers: Sequence[str] | None = None, **named: Any
) -> Arrays:
    """What the layers of a model put out.

    Parameters
    ----------
    model : Module
        Called once, in evaluation mode and without recording gradients.
    *inputs, **named : array or Tensor
        Arguments of the call.
    layers : list of str, optional
        Dotted names of modules. By default all that have no modules in them.

    Returns
    -------
    dict of str to array
        Outputs by name, in the order in which the modules ran; of ``(output, state)`` the output.
        Of a module that ran more than once, the last; a model that is itself such a module goes by
        its class's name.

    Raises
    ------
    ValueError
        If there is no module of a name.

    Examples
    --------
    >>> import nervure as nv
    >>> from nervure import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
    >>> found = nv.diagnostics.activations(model, nv.rand(2, 1, 8, 8))
    >>> {name: values.shape for name, values in found.items()}
    {'0': (2, 4, 6, 6), '1': (2, 4, 6, 6), '2': (2, 144)}
    """
    names = dict(model.named_modules())
    if layers is None:
        chosen = {name: module for name, module in names.items() if not list(module.children())}
    else:
        unknown = [name for name in layers if name not in names]
        if unknown:
            raise ValueError(
                f"[activations] the model has no module {unknown[0]!r}, it has "
                f"{', '.join(filter(None, names))}"
            )
        chosen = {name: names[name] for name in layers}
    return outputs_of(model, chosen, lambda: run_model(model, inputs, named))


def outputs_of(model: Module, chosen: dict[str, Module], run: Callable[[], Any]) -> Arrays:
    """Outputs of some modules while ``run`` runs the model."""
    names = _names(chosen)
    found: Arrays = {}

    def remember(module: Module, forward: Any, args: Any, kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor):
            name = names[id(module)]
            found.pop(name, None)  # the order is that of the last calls
            found[name] = first.numpy()
        return output

    with evaluating(model), no_grad(), watched(chosen.values(), remember):
        run()
    return found


def attention_weights(model: Module, *inputs: Any, **named: Any) -> Arrays:
    """How much each position looks at which, in every attention of a model.

    Parameters
    ----------
    model : Module
        Called once, in evaluation mode and without recording gradients. The fused attention keeps
        no weights, so it is computed in single steps meanwhile.
    *inputs, **named : array or Tensor
        Arguments of the call.

    Returns
    -------
    dict of str to array, (B, heads, T, S)
        Weights by name of the module (:class:`~nervure.nn.MultiheadAttention`,
        :class:`~nervure.nn.AdditiveAttention`, :class:`~nervure.nn.DotAttention`, the attention of
        :class:`~nervure.models.ViT`), in the order in which they ran. Row t sums to 1, or to 0 if
        it may look at nothing. The weights of a decoder that goes step by step are put together:
        one row per step.
    """
    return attention_of(model, lambda: run_model(model, inputs, named))


def attention_of(model: Module, run: Callable[[], Any]) -> Arrays:
    """Weights of all attentions while ``run`` runs the model."""
    chosen: dict[str, Module] = {
        name: m for name, m in model.named_modules() if isinstance(m, ATTENTION)
    }
    names = _names(chosen)
    found: dict[str, list[NDArray[Any]]] = {}

    def remember(module: Module, forward: Any, args: Any, kwargs: Any) -> Any:
        output, weights = _attend(module, forward, args, kwargs)
        found.setdefault(names[id(module)], []).append(weights)
        return output

    with evaluating(model), no_grad(), watched(chosen.values(), remember):
        run()
    return {name: _joined(parts) for name, parts in found.items()}


def _attend(
    module: Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, NDArray[Any]]:
    """What the call gives, and the weights (B, heads, T, S)."""
    if isinstance(module, PackedAttention):
        return forward(*args, **kwargs), _packed_weights(module, *args, **kwargs)
    if not isinstance(module, MultiheadAttention):
        output = forward(*args, **kwargs)
        weights = output[1].numpy()  # (B, S) or (B, T, S)
        return output, weights[:, None, None] if weights.ndim == 2 else weights[:, None]
    # Positions of the arguments: query, key, value, key_padding_mask, need_weights, attn_mask, ...
    wants = args[4] if len(args) > 4 else kwargs.get("need_weights", False)
    averages = args[6] if len(args) > 6 else kwargs.get("average_attn_weights", True)
    given = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
    y, weights = forward(**{**given, "need_weights": True, "average_attn_weights": False})
    returned = weights.mean(-3) if averages else weights
    shape = (-1, *weights.shape[-3:])  # without a batch there is a batch of one
    return (y, returned if wants else None), weights.numpy().reshape(shape)


_ARGUMENTS = (
    *("query", "key", "value", "key_padding_mask"),
    *("need_weights", "attn_mask", "average_attn_weights", "is_causal"),
)


def _packed_weights(module: PackedAttention, x: Tensor) -> NDArray[Any]:
    batch, length, dim = x.shape
    query, key, _ = (
        part.reshape(batch, length, module.heads, dim // module.heads).transpose(1, 2)
        for part in module.qkv(x).split(dim, -1)
    )
    return F.attention_weights(query, key).numpy()


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Steps of a decoder as rows; of other modules that ran several times, the last call."""
    single = all(part.shape[2] == 1 and part.shape == parts[0].shape for part in parts)
    return np.concatenate(parts, axis=2) if single else parts[-1]


def parameter_gradients(model: Module, loss: Callable[[], Tensor]) -> Arrays:
    """Gradients of a loss with respect to every parameter; the parameters' own stay as they are.

    Parameters
    ----------
    model : Module
        Whose parameters.
    loss : callable
        Runs the model and returns the loss, a tensor of one element.

    Returns
    -------
    dict of str to array
        By name of the parameter, in its shape; zeros where the loss does not depend on it.
        Parameters that do not learn are left out.

    Notes
    -----
    A row-sparse gradient that a parameter has before becomes a dense one.
    """
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.grad for name, p in learning.items()}
    recording = _core.grad_enabled()
    _core.set_grad_enabled(True)
    try:
        for parameter in learning.values():
            parameter.grad = None
        loss().backward()
        found = {}
        for name, parameter in learning.items():
            gradient = parameter.grad
            found[name] = np.zeros(parameter.shape) if gradient is None else gradient.numpy()
        return found
    finally:
        _core.set_grad_enabled(recording)
        for name, parameter in learning.items():
            parameter.grad = before[name]


def _names(chosen: dict[str, Module]) -> dict[int, str]:
    return {id(module): name or type(module).__name__ for name, module in chosen.items()}


def run_model(model: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Call a model with arrays or tensors."""
    return model(*map(_tensor, inputs), **{name: _tensor(value) for name, value in named.items()})


def _tensor(value: Any) -> Any:
    return _core.tensor(value) if isinstance(value, (np.ndarray, list)) else value
