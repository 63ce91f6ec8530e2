"""Findings of an audit about problems in a training's data."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from basecaller.common.errors import DataError
from basecaller.config.settings import Data, Settings
from basecaller.data.audit import audit, infeasible_at, leaks, seen_in_training, verdict
from basecaller.data.dataset import Dataset
from basecaller.data.pore import pore_of
from basecaller.data.sources import prepare, source_fingerprint

log = logging.getLogger(__name__)

_looked_at: set[tuple[str, int]] = set()


def check_data_files(data: Data) -> None:
    """Checks the files beside those of the data set itself: those of a separate test set, and the table of k-mer levels.

    Raises:
        DataError: a file is missing or unusable.
    """
    pore_of(data.pore_model)
    if data.test is not None:
        try:
            source_fingerprint(data.test.name, data.test.source)
        except DataError as error:
            raise DataError(f"data.test: {error}") from None


def warn_once(dataset: Dataset, chosen: Settings) -> None:
    """Logs the findings of an audit of the data, once per process for each data set and stride."""
    key = dataset.fingerprint, chosen.model.stride
    if key in _looked_at:
        return
    _looked_at.add(key)
    for line in _findings(dataset, chosen):
        log.warning("data: %s", line)


def _findings(dataset: Dataset, chosen: Settings, only_tested: bool = False) -> list[str]:
    facts = audit(dataset, pore_of(chosen.data.pore_model))
    dense = infeasible_at(facts, chosen.model.stride, chosen.train.infeasible)
    return [*verdict(facts, only_tested), *([dense] if dense else [])]


def data_findings(chosen: Settings) -> list[str]:
    """Findings of the audits for readers of a search's results: about the data, and about a separate test set (`data.test`).
    Also prepares the test set, so that a problem with it ends a search at its start.

    Raises:
        BasecallerError: a data set cannot be used, or the test set has other letters than the training data.
    """
    data, folder = chosen.data, Path(chosen.data.folder)
    dataset = prepare(data.name, data.source, folder)
    found = _findings(dataset, chosen)
    if data.test is not None:
        tested = prepare(data.test.name, data.test.source, folder)
        if tested.alphabet != dataset.alphabet:
            raise DataError(f"data.test: its letters are {tested.alphabet}, those to train on {dataset.alphabet}")
        seen = seen_in_training(dataset, {"data.test": (tested, np.arange(len(tested)))}).seen
        of_test = [f"data.test: {line}" for line in _findings(tested, chosen, only_tested=True)] + leaks(seen)
        for line in of_test:
            log.warning(line)
        found += of_test
    return found
