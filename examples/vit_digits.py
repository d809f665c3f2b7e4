# SPDX-License-Identifier: BSD-3-Clause
"""Train a small Vision Transformer on handwritten digits, or on image files of yours.

    python vit_digits.py                   # scikit-learn's digits: about 99 % in half a minute
    python vit_digits.py --data FOLDER     # MNIST, Fashion-MNIST (IDX files) or CIFAR-10 in there

The images are varied anew in every epoch: moved by random crops, colour images mirrored, and with
files also mixed with each other (mixup). The digits need scikit-learn: pip install 'nervure[demo]'.
"""

import argparse
import sys
import time

from images_cnn import as_float, evaluate, read

import nervure as nv
from nervure import data, optim
from nervure.models import ViT
from nervure.nn import functional as F
from nervure.progress import ProgressBar


def digits():
    """Training and test images of scikit-learn, 8 x 8 pixels."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        sys.exit("vit_digits.py: the digits need scikit-learn: pip install 'nervure[demo]'")
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x.reshape(-1, 8, 8), y, test_size=0.2, stratify=y, random_state=0)
    return data.Images(parts[0], parts[2]), data.Images(parts[1], parts[3])


def variations(channels, size, blank, mixup, classes):
    """Moved by up to an eighth of the size, colour images mirrored, all of them mixed."""
    steps = [data.RandomCrop(size, padding=size // 8, fill=blank)]
    if channels > 1:  # a mirrored digit is none
        steps.append(data.RandomHorizontalFlip())
    if mixup > 0:
        steps.append(data.Mixup(mixup, num_classes=classes))
    return steps


def build(channels, size, classes):
    """Patches of 2 x 2 pixels for small images, 4 x 4 for others."""
    if size <= 16:
        shape = {"patch_size": 2, "dim": 64, "mlp_ratio": 2.0}
    else:
        shape = {"patch_size": 4, "dim": 128, "mlp_ratio": 4.0}
    return ViT(size, in_channels=channels, num_classes=classes, depth=4, heads=4, drop_path=0.05,
               pool="mean", **shape)  # fmt: skip


def main():
    """Read, train, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", metavar="FOLDER", help="with the files of MNIST or CIFAR-10 (default: digits)")
    add("--epochs", type=int, metavar="N", help="default: 90, or 10 with --data")
    add("--batch", type=int, metavar="N", help="default: 32, or 64 with --data")
    add("--mixup", type=float, metavar="ALPHA", help="0 for none; default: 0, or 0.2 with --data")
    add("--limit", type=int, metavar="N", help="train on the first N images only")
    add("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    own = options.data is not None
    epochs = options.epochs or (10 if own else 90)
    batch = options.batch or (64 if own else 32)
    mixup = options.mixup if options.mixup is not None else (0.2 if own else 0.0)

    train, test = read(options.data) if own else digits()
    if options.limit:
        train = data.Images(train.x[: options.limit], train.y[: options.limit])
    mean, deviation = train.x.mean(), train.x.std()
    x_train, x_test = (as_float(part.x, mean, deviation) for part in (train, test))
    channels, size = x_train.shape[1], x_train.shape[2]
    classes = int(train.y.max()) + 1
    blank = 0.0 if channels > 1 else float(-mean / deviation)

    nv.manual_seed(options.seed)
    model = build(channels, size, classes)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(train.y)} images to train, {len(test.y)} to test; {count:,} parameters")
    loader = data.DataLoader(
        data.ArrayDataset(x_train, train.y),
        batch,
        shuffle=True,
        transform=variations(channels, size, blank, mixup, classes),
    )
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * len(loader))
    begin = time.perf_counter()
    with ProgressBar(epochs * len(loader), "training") as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            for x, y in loader:  # with mixup, y are probabilities (N, classes)
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update(1, description=f"epoch {epoch}/{epochs}", text=f"loss {loss.item():.3f}")
            if own or epoch % 10 == 0 or epoch == epochs:
                speed = epoch * len(train.y) / (time.perf_counter() - begin)
                accuracy = evaluate(model, x_test, test.y, 256)
                bar.print(f"epoch {epoch:>3}  loss {loss.item():.4f}  test accuracy {accuracy:.4f}"
                          f"  {speed:,.0f} images/s")  # fmt: skip
    name = "vit_images" if own else "vit_digits"
    nv.save(model.state_dict(), f"{name}.safetensors")


if __name__ == "__main__":
    main()
