"""Reads and their labels: the data set on disk, its sources, its audit and its batches. Does not import torch."""

from basecaller.data.dataset import ALPHABET, Dataset
from basecaller.data.splits import SPLITS

__all__ = ["ALPHABET", "SPLITS", "Dataset"]
