# SPDX-License-Identifier: BSD-3-Clause
"""Training: the loop, its history, and checkpoints."""

from nervure.train.advice import TrainingWarning
from nervure.train.history import History
from nervure.train.trainer import Trainer

__all__ = ["History", "Trainer", "TrainingWarning"]
