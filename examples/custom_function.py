# SPDX-License-Identifier: BSD-3-Clause
"""An operation of one's own in NumPy, with its gradient, used like any other.

The operation: Swish with a slope, y = x * sigmoid(s x), whose slope s is learned too.
"""

import numpy as np

import nervure as nv
from nervure import optim


class Swish(nv.Function):
    """y = x * sigmoid(s x); forward and backward get and give NumPy arrays."""

    @staticmethod
    def forward(ctx, x, slope):
        gate = 1 / (1 + np.exp(-slope * x))
        ctx.save_for_backward(x, slope, gate)
        return x * gate

    @staticmethod
    def backward(ctx, dy):
        x, slope, gate = ctx.saved_tensors
        d_inner = dy * x * gate * (1 - gate)
        return dy * gate + slope * d_inner, np.sum(x * d_inner)


nv.manual_seed(0)
x = nv.randn(200)
target = Swish.apply(x, nv.tensor(1.7))

slope = nv.tensor(0.5, requires_grad=True)
optimizer = optim.Adam([slope], lr=0.05)
for step in range(201):
    optimizer.zero_grad()
    loss = ((Swish.apply(x, slope) - target) ** 2).mean()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:>3}  loss {loss.item():.2e}  slope {slope.item():.4f}")
