# SPDX-License-Identifier: BSD-3-Clause
"""Train a convolutional network on MNIST, Fashion-MNIST or CIFAR-10 in a folder of yours.

    python images_cnn.py --data FOLDER

The folder holds the files as they are published, packed or unpacked:
train-images-idx3-ubyte.gz and its three companions (MNIST, Fashion-MNIST), or data_batch_1.bin and
its five companions (CIFAR-10, binary version; the version for Python will do as well).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import nervure as nv
from nervure import data, metrics, models, nn, optim
from nervure.progress import ProgressBar


def read(folder):
    """Give training and test images, whichever of the two kinds is in the folder."""
    missing = []
    for reader in (data.read_mnist, data.read_cifar10):
        try:
            return reader(folder, train=True), reader(folder, train=False)
        except FileNotFoundError as error:
            missing.append(str(error))
    sys.exit(
        "\n".join(
            [
                f"{Path(sys.argv[0]).name}: found neither MNIST nor CIFAR-10 in {folder!r}:",
                *(f"  - {text}" for text in missing),
                "Download them from their publishers and unpack the archive of CIFAR-10:",
                "  MNIST          http://yann.lecun.com/exdb/mnist/",
                "  Fashion-MNIST  https://github.com/zalandoresearch/fashion-mnist",
                "  CIFAR-10       https://www.cs.toronto.edu/~kriz/cifar.html",
            ]
        )
    )


def as_float(images, mean, deviation):
    """Standardised float32 images (N, channels, H, W); grey ones get their channel."""
    x = images if images.ndim == 4 else images[:, None]
    return ((x - mean) / deviation).astype(np.float32)


def evaluate(net, x, y, batch):
    """Accuracy, in batches: a whole test set need not fit into memory."""
    net.eval()
    right = 0.0
    with nv.no_grad():
        for start in range(0, len(y), batch):
            part = slice(start, start + batch)
            scores = net(nv.tensor(x[part]))
            right += metrics.accuracy(y[part], scores) * len(y[part])
    return right / len(y)


def main():
    """Read, train, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, metavar="FOLDER")
    add("--model", choices=("lenet", "vgg", "resnet20"), help="default: lenet or vgg")
    add("--epochs", type=int, default=3, metavar="N")
    add("--batch", type=int, default=64, metavar="N")
    add("--limit", type=int, metavar="N", help="train on the first N images only")
    options = parser.parse_args()

    train, test = read(options.data)
    if options.limit:
        train = data.Images(train.x[: options.limit], train.y[: options.limit])
    mean, deviation = train.x.mean(), train.x.std()
    x_train, x_test = (as_float(part.x, mean, deviation) for part in (train, test))
    channels, size = x_train.shape[1], x_train.shape[2]
    classes = int(train.y.max()) + 1
    name = options.model or ("lenet" if channels == 1 else "vgg")
    nv.manual_seed(0)
    if name == "lenet":
        net = models.LeNet5(classes, channels, image_size=size)
    elif name == "vgg":
        net = models.VGGSmall(classes, channels)
    else:
        net = models.resnet20(classes, channels)
    count = sum(parameter.numel() for parameter in net.parameters())
    print(f"{len(train.y)} images to train, {len(test.y)} to test; {name}, {count:,} parameters")

    loss_function = nn.CrossEntropyLoss()
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    for epoch in range(1, options.epochs + 1):
        net.train()
        order = rng.permutation(len(train.y))
        begin = time.perf_counter()
        with ProgressBar(len(order), f"epoch {epoch}/{options.epochs}") as bar:
            for start in range(0, len(order), options.batch):
                batch = order[start : start + options.batch]
                optimizer.zero_grad()
                loss = loss_function(net(nv.tensor(x_train[batch])), nv.tensor(train.y[batch]))
                loss.backward()
                optimizer.step()
                bar.update(len(batch), text=f"loss {loss.item():.4f}")
        speed = len(order) / (time.perf_counter() - begin)
        accuracy = evaluate(net, x_test, test.y, 256)
        print(f"epoch {epoch}: test accuracy {accuracy:.4f}, {speed:,.0f} images/s")
    nv.save(net.state_dict(), f"images_{name}.safetensors")


if __name__ == "__main__":
    main()
