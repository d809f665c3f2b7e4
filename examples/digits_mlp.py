# SPDX-License-Identifier: BSD-3-Clause
"""Train a dense network on scikit-learn's handwritten digits, in a plain loop.

Needs scikit-learn: pip install 'nervure[demo]'. Takes a few seconds.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nervure as nv
from nervure import metrics, nn, optim

EPOCHS, BATCH = 30, 32

# 1797 images of 8x8 pixels with values from 0 to 16.
images, digits = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    (images / 16).astype(np.float32), digits, test_size=0.2, stratify=digits, random_state=0
)
x_train, y_train, x_test = nv.tensor(x_train), nv.tensor(y_train), nv.tensor(x_test)

nv.manual_seed(0)
net = nn.Sequential(
    nn.Linear(64, 128),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(128, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
loss_function = nn.CrossEntropyLoss()
optimizer = optim.Adam(net.parameters(), lr=2e-3)

for epoch in range(1, EPOCHS + 1):
    net.train()
    total = 0.0
    order = nv.randperm(len(x_train))
    for start in range(0, len(x_train), BATCH):
        batch = order[start : start + BATCH]
        optimizer.zero_grad()
        loss = loss_function(net(x_train[batch]), y_train[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)

    net.eval()
    with nv.no_grad():
        scores = net(x_test)
    accuracy = metrics.accuracy(y_test, scores)
    print(f"epoch {epoch:>2}  loss {total / len(x_train):.4f}  test accuracy {accuracy:.4f}")

nv.save(net.state_dict(), "digits_mlp.safetensors")
