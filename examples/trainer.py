# SPDX-License-Identifier: BSD-3-Clause
"""Train a classifier of handwritten digits with nervure.Trainer.

Standardised on the training images, stopped when the validation loss no longer falls, with the best
weights restored. Needs scikit-learn: pip install 'nervure[demo]'. Takes a few seconds.
"""

import numpy as np
from sklearn.datasets import load_digits

import nervure as nv
from nervure import metrics, nn, optim
from nervure.callbacks import EarlyStopping, ReduceLROnPlateau
from nervure.data import ArrayDataset, StandardScaler, random_split

images, digits = load_digits(return_X_y=True)  # 1797 images of 8x8 pixels
train, validation, test = random_split(
    ArrayDataset(images, digits), [0.7, 0.15, 0.15], stratify=digits, seed=0
)
scaler = StandardScaler().fit(images[train.indices])


def part(subset):
    return scaler.transform(images[subset.indices]), digits[subset.indices]


nv.manual_seed(0)
model = nn.Sequential(
    nn.Linear(64, 128, activation="relu"),
    nn.Dropout(0.3),
    nn.Linear(128, 64, activation="relu"),
    nn.Linear(64, 10),
)
trainer = nv.Trainer(
    model,
    nn.CrossEntropyLoss(label_smoothing=0.05),
    optim.AdamW(model.parameters(), lr=3e-3),
    metrics=["accuracy", "f1_macro"],
    clip_norm=1.0,
)
history = trainer.fit(
    *part(train),
    batch_size=32,
    epochs=60,
    verbose=2,
    validation_data=part(validation),
    callbacks=[
        EarlyStopping(patience=8, restore_best_weights=True),
        ReduceLROnPlateau(patience=3, factor=0.5),
    ],
)

x_test, y_test = part(test)
loss, accuracy, f1 = trainer.evaluate(x_test, y_test)
print(f"\n{len(history.epoch)} epochs; test: loss {loss:.4f}, accuracy {accuracy:.4f}, F1 {f1:.4f}")
print(metrics.classification_report(y_test, trainer.predict(x_test).argmax(axis=1)))
assert np.isfinite(loss)
