# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn estimators that train Nervure networks (``pip install 'nervure[sklearn]'``).

They pass scikit-learn's own checks and work in ``Pipeline``, ``GridSearchCV(n_jobs=...)`` and
``cross_val_score``; they are cloned and pickled like any other estimator. The same data, parameters
and ``random_state`` give the same bits, for any number of threads.
"""

import importlib.util as _util

if _util.find_spec("sklearn") is None:
    raise ImportError("[nervure.sklearn] needs scikit-learn: pip install 'nervure[sklearn]'")

# isort: split
from nervure.sklearn._cnn import CNNClassifier
from nervure.sklearn._mlp import MLPClassifier, MLPRegressor
from nervure.sklearn._neural_net import NeuralNetClassifier, NeuralNetRegressor
from nervure.sklearn._rnn import RNNClassifier

__all__ = [
    "CNNClassifier",
    "MLPClassifier",
    "MLPRegressor",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
    "RNNClassifier",
]
