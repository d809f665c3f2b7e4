# SPDX-License-Identifier: BSD-3-Clause
"""Models: scores and gradients of the same networks in PyTorch, from the same state dict."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import nervure as nv
from nervure import models, nn, optim
from nervure.nn import functional as F
from nervure.nn.utils import fuse_conv_bn_eval

torch = pytest.importorskip("torch")
tnn = torch.nn


# ---- the networks in PyTorch, as torchvision and PyTorch's tutorials write them ------------------


class TorchLeNet(tnn.Module):
    def __init__(self, padding=2):
        super().__init__()
        self.conv1 = tnn.Conv2d(1, 6, 5, padding=padding)
        self.conv2 = tnn.Conv2d(6, 16, 5)
        self.fc1 = tnn.Linear(400, 120)
        self.fc2 = tnn.Linear(120, 84)
        self.fc3 = tnn.Linear(84, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class TorchVGG(tnn.Module):
    def __init__(self, widths=(64, 128, 256)):
        super().__init__()
        layers, channels = [], 3
        for width in widths:
            for _ in range(2):
                layers += [tnn.Conv2d(channels, width, 3, padding=1, bias=False)]
                layers += [tnn.BatchNorm2d(width), tnn.ReLU()]
                channels = width
            layers.append(tnn.MaxPool2d(2))
        self.features = tnn.Sequential(*layers)
        self.classifier = tnn.Sequential(tnn.Dropout(0.0), tnn.Linear(channels, 10))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class TorchBlock(tnn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = tnn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(outputs)
        self.conv2 = tnn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = tnn.Sequential(
                tnn.Conv2d(inputs, outputs, 1, stride, bias=False), tnn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet(tnn.Module):
    def __init__(self, blocks, widths, classes, imagenet):
        super().__init__()
        first = widths[0]
        self.conv1 = tnn.Conv2d(3, first, *((7, 2, 3) if imagenet else (3, 1, 1)), bias=False)
        self.bn1 = tnn.BatchNorm2d(first)
        self.maxpool = tnn.MaxPool2d(3, 2, 1) if imagenet else tnn.Identity()
        inputs, self.groups = first, len(blocks)
        for i, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            group = [TorchBlock(inputs if j == 0 else width, width, 2 if i > 1 and j == 0 else 1)
                     for j in range(count)]  # fmt: skip
            setattr(self, f"layer{i}", tnn.Sequential(*group))
            inputs = width
        self.fc = tnn.Linear(inputs, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for i in range(1, self.groups + 1):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))


PAIRS = {
    "LeNet5": (models.LeNet5, TorchLeNet, (3, 1, 28, 28)),
    "LeNet5 32": (
        lambda: models.LeNet5(image_size=32), lambda: TorchLeNet(0), (2, 1, 32, 32)
    ),
    "VGGSmall": (
        lambda: models.VGGSmall(widths=(16, 32), dropout=0.0),
        lambda: TorchVGG((16, 32)),
        (4, 3, 16, 16),
    ),
    "resnet20": (
        models.resnet20,
        lambda: TorchResNet((3, 3, 3), (16, 32, 64), 10, False),
        (4, 3, 32, 32),
    ),
    "resnet32": (
        models.resnet32,
        lambda: TorchResNet((5, 5, 5), (16, 32, 64), 10, False),
        (2, 3, 32, 32),
    ),
    "resnet18": (
        models.resnet18,
        lambda: TorchResNet((2, 2, 2, 2), (64, 128, 256, 512), 1000, True),
        (4, 3, 64, 64),
    ),
}  # fmt: skip


def pair(name):
    make, make_torch, shape = PAIRS[name]
    torch.manual_seed(0)
    theirs = make_torch()
    for module in theirs.modules():  # running statistics and factors that are not all 0 and 1
        if isinstance(module, tnn.BatchNorm2d):
            for value in (module.running_mean, module.bias.data):
                value.normal_(0, 0.2)
            for value in (module.running_var, module.weight.data):
                value.uniform_(0.5, 1.5)
    ours = make()
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    return ours, theirs, rng.standard_normal(shape).astype(np.float32)


def distance(ours, theirs):
    theirs = theirs.detach().numpy()
    return np.abs(ours.numpy() - theirs).max() / max(np.abs(theirs).max(), 1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_same_keys_and_same_scores(name):
    ours, theirs, x = pair(name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.eval()
    theirs.eval()
    with nv.no_grad(), torch.no_grad():
        assert distance(ours(nv.tensor(x)), theirs(torch.from_numpy(x))) < 2e-5


@pytest.mark.parametrize("name", PAIRS)
def test_same_gradients_and_statistics_in_training(name):
    ours, theirs, x = pair(name)
    theirs.double()  # in single precision PyTorch itself is up to 3 % off, where a ReLU flips
    y = np.arange(len(x)) % 10
    loss = F.cross_entropy(ours(nv.tensor(x)), nv.tensor(y))
    loss.backward()
    scores = theirs(torch.from_numpy(x).double())
    torch_loss = tnn.functional.cross_entropy(scores, torch.from_numpy(y))
    torch_loss.backward()
    assert loss.item() == pytest.approx(torch_loss.item(), rel=1e-5)
    gradients = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        wanted = gradients[key].grad.numpy()
        error = np.linalg.norm(parameter.grad.numpy() - wanted) / np.linalg.norm(wanted)
        assert error < (1e-4 if name.startswith("LeNet5") else 5e-2), key
    buffers = dict(theirs.named_buffers())
    for key, buffer in ours.named_buffers():
        assert distance(buffer, buffers[key]) < 1e-4, key


def test_state_goes_back_to_pytorch():
    ours, theirs, x = pair("resnet20")
    state = models.resnet20().state_dict()
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in state.items()})
    ours.load_state_dict(state)
    ours.eval()
    theirs.eval()
    with nv.no_grad(), torch.no_grad():
        assert distance(ours(nv.tensor(x)), theirs(torch.from_numpy(x))) < 2e-5


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (models.LeNet5, 61_706),
        (models.resnet20, 272_474),
        (models.resnet32, 466_906),
        (models.resnet18, 11_689_512),  # as torchvision says
    ],
)
def test_number_of_parameters(make, count):
    assert sum(parameter.numel() for parameter in make().parameters()) == count


def test_other_sizes():
    x = nv.randn(2, 4, 20, 24)
    assert models.VGGSmall(7, 4).eval()(x).shape == (2, 7)
    assert models.resnet18(5, 4, stem="cifar")(x).shape == (2, 5)
    assert models.ResNet((1, 1), (8, 16), 3, 4)(x).shape == (2, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.LeNet5(image_size=30),
        lambda: models.LeNet5()(nv.zeros(1, 1, 32, 32)),
        lambda: models.VGGSmall(widths=()),
        lambda: models.ResNet((), ()),
        lambda: models.ResNet((1, 2), (8,)),
        lambda: models.ResNet((1, 0), (8, 8)),
        lambda: models.ResNet((1,), (8,), stem="other"),
    ],
)
def test_refused(make):
    with pytest.raises(ValueError, match=r"\[(LeNet5|VGGSmall|ResNet)\]"):
        make()


def test_a_small_residual_network_learns(rng):
    nv.manual_seed(0)
    x = rng.standard_normal((64, 3, 8, 8)).astype(np.float32)
    y = (x[:, 0].mean((1, 2)) > 0).astype(np.int64) + 2 * (x[:, 1, :4].mean((1, 2)) > 0)
    net = models.ResNet((1, 1), (16, 32), 4)
    optimizer = optim.Adam(net.parameters(), lr=3e-3)
    images, labels = nv.tensor(x), nv.tensor(y)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


# ---- folding batch normalisation into convolutions -----------------------------------------------


def trained(module):
    module.running_mean.copy_(nv.randn(module.num_features))
    module.running_var.copy_(nv.rand(module.num_features) + 0.5)
    if module.weight is not None:
        module.weight.detach().copy_(nv.randn(module.num_features))
        module.bias.detach().copy_(nv.randn(module.num_features))
    return module


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [
        (lambda b: nn.Conv2d(5, 9, 3, padding=1, bias=b), nn.BatchNorm2d, (2, 5, 7, 6)),
        (lambda b: nn.Conv2d(6, 12, 3, groups=3, stride=2, bias=b), nn.BatchNorm2d, (2, 6, 9, 9)),
        (lambda b: nn.Conv1d(4, 7, 3, bias=b), nn.BatchNorm1d, (3, 4, 11)),
        (lambda b: nn.ConvTranspose2d(5, 8, 3, stride=2, bias=b), nn.BatchNorm2d, (2, 5, 4, 4)),
    ],
)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_fused_convolution_computes_the_same(conv, norm, shape, bias, affine, activation):
    nv.manual_seed(0)
    conv = conv(bias)
    bn = trained(norm(conv.out_channels, affine=affine, activation=activation))
    conv.eval()
    bn.eval()
    weight = conv.weight.numpy().copy()
    fused = fuse_conv_bn_eval(conv, bn)
    x = nv.randn(*shape)
    with nv.no_grad():
        want, got = bn(conv(x)).numpy(), fused(x).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(conv.weight.numpy(), weight)
    assert type(fused) is type(conv)
    assert [p.requires_grad for p in fused.parameters()] == [True, True]


def test_fused_as_in_pytorch():
    theirs = tnn.Conv2d(5, 9, 3), tnn.BatchNorm2d(9)
    theirs[1].running_mean.normal_()
    theirs[1].running_var.uniform_(0.5, 2)
    ours = nn.Conv2d(5, 9, 3), nn.BatchNorm2d(9)
    for module, source in zip(ours, theirs, strict=True):
        module.load_state_dict(source.state_dict())
        module.eval()
        source.eval()
    fused = fuse_conv_bn_eval(*ours)
    wanted = tnn.utils.fusion.fuse_conv_bn_eval(*theirs)
    np.testing.assert_allclose(fused.weight.numpy(), wanted.weight.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(fused.bias.numpy(), wanted.bias.detach().numpy(), rtol=1e-5)


def test_not_fused():
    conv, bn = nn.Conv2d(3, 4, 3).eval(), nn.BatchNorm2d(4).eval()
    refused = [
        (copy.deepcopy(conv).train(), bn, "evaluation mode"),
        (conv, nn.BatchNorm2d(4), "evaluation mode"),
        (conv, nn.BatchNorm2d(5).eval(), "4 output channels, bn 5"),
        (conv, nn.BatchNorm2d(4, track_running_stats=False).eval(), "running statistics"),
        (nn.Conv2d(3, 4, 3, activation="relu").eval(), bn, "no activation"),
        (nn.ConvTranspose2d(4, 4, 3, groups=2).eval(), bn, "groups=1"),
    ]
    for layer, norm, message in refused:
        with pytest.raises(ValueError, match=message):
            fuse_conv_bn_eval(layer, norm)
