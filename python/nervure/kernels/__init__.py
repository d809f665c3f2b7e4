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
from .attention import attention_backward, attention_forward
from .conv import col2im, conv2d_backward_data, conv2d_backward_weight, conv2d_forward, im2col
from .norm import (
    batch_norm_backward,
    batch_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from .optim import adam_step, rmsprop_step, sgd_step
from .pool import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from .product import gemm
from .recurrent import (
    gru_backward,
    gru_cell_backward,
    gru_cell_forward,
    gru_forward,
    lstm_backward,
    lstm_cell_backward,
    lstm_cell_forward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_step",
    "attention_backward",
    "attention_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "col2im",
    "conv2d_backward_data",
    "conv2d_backward_weight",
    "conv2d_forward",
    "cross_entropy_forward",
    "gemm",
    "gru_backward",
    "gru_cell_backward",
    "gru_cell_forward",
    "gru_forward",
    "im2col",
    "layer_norm_backward",
    "layer_norm_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "lstm_backward",
    "lstm_cell_backward",
    "lstm_cell_forward",
    "lstm_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "rmsprop_step",
    "rnn_backward",
    "rnn_forward",
    "sgd_step",
    "softmax_backward",
    "softmax_forward",
]
