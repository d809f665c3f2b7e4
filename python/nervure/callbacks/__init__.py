# SPDX-License-Identifier: BSD-3-Clause
"""What can be done while a model trains: stop early, save, log, show."""

from nervure.callbacks.base import Callback
from nervure.callbacks.checkpoint import ModelCheckpoint
from nervure.callbacks.logging import CSVLogger, LambdaCallback, TensorBoard
from nervure.callbacks.nan import NonFinite, TerminateOnNaN
from nervure.callbacks.progress import ProgressBar
from nervure.callbacks.stopping import EarlyStopping, ReduceLROnPlateau

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "ModelCheckpoint",
    "NonFinite",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
