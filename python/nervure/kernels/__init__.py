# SPDX-License-Identifier: BSD-3-Clause
"""The bare kernels on NumPy arrays: no tensors, no tape, no copies.

For anyone who wants just the arithmetic: a training loop of one's own, another library's back
end, a measurement. Every function takes ``float32`` arrays (labels ``int64``) and writes into
``out`` when it is given, else into a new array. Nothing is converted or copied behind the
caller's back: a wrong dtype raises `TypeError`, a wrong shape or memory order `ValueError`. The
kernels release the interpreter's lock while they work and use the threads of
`nervure.set_num_threads`.
"""

from .activation import (
    activation_backward,
    activation_forward,
    cross_entropy_forward,
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_forward,
)
from .conv import col2im, conv2d_backward_data, conv2d_backward_weight, conv2d_forward, im2col
from .optim import adam_step, rmsprop_step, sgd_step
from .product import gemm

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_step",
    "col2im",
    "conv2d_backward_data",
    "conv2d_backward_weight",
    "conv2d_forward",
    "cross_entropy_forward",
    "gemm",
    "im2col",
    "log_softmax_backward",
    "log_softmax_forward",
    "rmsprop_step",
    "sgd_step",
    "softmax_backward",
    "softmax_forward",
]
