# SPDX-License-Identifier: BSD-3-Clause
"""Train a small convolutional network on scikit-learn's handwritten digits.

Needs scikit-learn: pip install 'nervure[demo]'. Takes well under a minute.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nervure as nv
from nervure import metrics, nn, optim
from nervure.progress import ProgressBar

EPOCHS, BATCH = 40, 32

# 1797 images of 8x8 pixels with values from 0 to 16, as (N, channels, height, width).
images, digits = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
x_train, x_test, y_train, y_test = train_test_split(
    images, digits, test_size=0.2, stratify=digits, random_state=0
)
x_test, y_train = nv.tensor(x_test), nv.tensor(y_train)

nv.manual_seed(0)
rng = np.random.default_rng(0)
net = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1, bias=False),  # a bias would be taken away by the next layer
    nn.BatchNorm2d(32, activation="relu"),
    nn.Conv2d(32, 64, 3, padding=1, bias=False),
    nn.BatchNorm2d(64, activation="relu"),
    nn.MaxPool2d(2),
    nn.Conv2d(64, 64, 3, padding=1, bias=False),
    nn.BatchNorm2d(64, activation="relu"),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(0.3),
    nn.Linear(64 * 2 * 2, 10),
)
loss_function = nn.CrossEntropyLoss()
optimizer = optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)


def shifted(x):
    """Move every image by up to one pixel, differently in each epoch."""
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)))
    top, left = rng.integers(0, 3, (2, len(x), 1, 1))
    rows, columns = top + np.arange(8)[:, None], left + np.arange(8)
    return nv.tensor(padded[np.arange(len(x))[:, None, None], rows, columns][:, None])


with ProgressBar(EPOCHS, "training") as bar:
    for epoch in range(1, EPOCHS + 1):
        net.train()
        x = shifted(x_train)
        total = 0.0
        order = nv.randperm(len(x))
        for start in range(0, len(x), BATCH):
            batch = order[start : start + BATCH]
            optimizer.zero_grad()
            loss = loss_function(net(x[batch]), y_train[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        bar.update(1, description=f"epoch {epoch}/{EPOCHS}", text=f"loss {total / len(x):.4f}")

net.eval()
with nv.no_grad():
    scores = net(x_test)
accuracy = metrics.accuracy(y_test, scores)
print(f"test accuracy {accuracy:.4f} of {len(y_test)} images")

nv.save(net.state_dict(), "digits_cnn.safetensors")
