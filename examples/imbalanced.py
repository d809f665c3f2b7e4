# SPDX-License-Identifier: BSD-3-Clause
"""Why accuracy misleads on imbalanced data, and what helps: class weights, and metrics per class.

Finds the digit 8 among all others of scikit-learn's handwritten digits, thinned until one image in
fifty is an 8. Needs scikit-learn: pip install 'nervure[demo]'. Takes a few seconds.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nervure as nv
from nervure import metrics, nn, optim

images, digits = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
eights, others = np.flatnonzero(digits == 8), np.flatnonzero(digits != 8)
kept = np.concatenate([others, rng.choice(eights, len(others) // 49, replace=False)])
x, y = (images[kept] / 16).astype(np.float32), (digits[kept] == 8).astype(np.int64)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, stratify=y, random_state=0)
print(f"{len(y_train)} images to learn from, {y_train.sum()} of them an 8\n")


def report(name: str, predicted: np.ndarray) -> None:
    print(
        f"{name:<36} accuracy {metrics.accuracy(y_test, predicted):.3f}   "
        f"recall {metrics.recall(y_test, predicted):.3f}   "
        f"precision {metrics.precision(y_test, predicted):.3f}   "
        f"F1 {metrics.f1(y_test, predicted):.3f}"
    )


report("always 'no 8'", np.zeros_like(y_test))
for name, class_weight, epochs in (
    ("few epochs, all images alike", None, 3),
    ("few epochs, class_weight='balanced'", "balanced", 3),
    ("many epochs, class_weight='balanced'", "balanced", 40),
):
    nv.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32, activation="relu"), nn.Linear(32, 2))
    trainer = nv.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=2e-3))
    trainer.fit(x_train, y_train, 32, epochs, class_weight=class_weight, verbose=0)
    scores = trainer.predict_proba(x_test)
    report(name, scores.argmax(axis=1))

print(f"\nthe last one ranks, too: ROC-AUC {metrics.roc_auc(y_test, scores[:, 1]):.3f}")
print(metrics.classification_report(y_test, scores.argmax(axis=1)))
