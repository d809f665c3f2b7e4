# SPDX-License-Identifier: BSD-3-Clause
"""Data: sets of samples, their batches, padding, splitting, scaling, augmentation, files."""

from nervure.data.augment import Mixup, RandomCrop, RandomHorizontalFlip
from nervure.data.dataset import ArrayDataset, Dataset, Subset, collate
from nervure.data.images import Images, read_cifar10, read_idx, read_mnist
from nervure.data.loader import DataLoader
from nervure.data.readers import Table, read_csv
from nervure.data.sampler import (
    BatchSampler,
    BucketSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)
from nervure.data.scale import StandardScaler
from nervure.data.sequence import Padded, pad_sequences
from nervure.data.sequence_dataset import SequenceDataset
from nervure.data.split import random_split
from nervure.data.text import Vocabulary, read_text, windows

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "BucketSampler",
    "DataLoader",
    "Dataset",
    "Images",
    "Mixup",
    "Padded",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomSampler",
    "Sampler",
    "SequenceDataset",
    "SequentialSampler",
    "StandardScaler",
    "Subset",
    "Table",
    "Vocabulary",
    "WeightedRandomSampler",
    "collate",
    "pad_sequences",
    "random_split",
    "read_cifar10",
    "read_csv",
    "read_idx",
    "read_mnist",
    "read_text",
    "windows",
]
