# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules: call ``step()`` after the optimiser's, usually once per epoch.

Below, ``lr_0`` is the learning rate that a group had when the schedule was made (its
``initial_lr``) and ``t`` counts the calls of ``step()``. Schedules that say so multiply the
current rate, so several of them can be used together.
"""

from .base import LRScheduler
from .cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from .function import LambdaLR
from .multiplicative import ExponentialLR, LinearLR, MultiStepLR, StepLR
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .sequential import SequentialLR

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
