# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of networks and of their training, by matplotlib (``pip install 'nervure[plot]'``).

Every function returns the matplotlib ``Figure`` and, given a path, writes it there; the ending of
the name chooses the format. Nothing touches ``pyplot``: no display is needed and no figure stays
behind. :meth:`nervure.Trainer.report` puts all of them on one page.
"""

from nervure.plot._activations import activations
from nervure.plot._attention import attention, attention_maps
from nervure.plot._confusion import confusion_matrix
from nervure.plot._curves import learning_curves, precision_recall_curves, roc_curves
from nervure.plot._filters import learned_filters
from nervure.plot._gradients import gradient_flow, gradient_norms
from nervure.plot._graph import model_graph
from nervure.plot._histograms import gradient_histograms, weight_histograms

__all__ = [
    "activations",
    "attention",
    "attention_maps",
    "confusion_matrix",
    "gradient_flow",
    "gradient_histograms",
    "gradient_norms",
    "learned_filters",
    "learning_curves",
    "model_graph",
    "precision_recall_curves",
    "roc_curves",
    "weight_histograms",
]
