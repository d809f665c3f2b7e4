# SPDX-License-Identifier: BSD-3-Clause
"""What goes on inside a network: outputs, attention and gradients of its layers.

:mod:`nervure.plot` draws what these functions give.
"""

from nervure.diagnostics._inside import activations, attention_weights, parameter_gradients
from nervure.diagnostics._through_time import GradientFlow, gradient_flow

__all__ = [
    "GradientFlow",
    "activations",
    "attention_weights",
    "gradient_flow",
    "parameter_gradients",
]
