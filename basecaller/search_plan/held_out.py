"""The scores of a training on the test split, which no stage has used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from basecaller.calling.model import split_of
from basecaller.calling.quality import calibrate
from basecaller.calling.scoring import evaluate_chunks
from basecaller.common.facts import from_json, to_json
from basecaller.common.files import content_digest, read_json, write_json
from basecaller.common.nested import digest
from basecaller.config.settings import Settings, settings
from basecaller.data.splits import SPLITS
from basecaller.runs.code_version import code_version
from basecaller.training.checkpoint import load_network
from basecaller.training.device import choose_device
from basecaller.training.fit import choose
from basecaller.training.scores import HeldOutReads

TEST_VERSION = 4
"""Version of `test.json`; increase it to test trainings again."""


@dataclass(frozen=True)
class _Test:
    """The contents of `test.json`.

    Attributes:
        key: digest of checkpoint, stride, data and code.
    """

    key: str
    scores: HeldOutReads


def largest_stride(folders: Iterable[Path], networks: Sequence[str] = ()) -> int:
    """The largest stride of some trainings' networks: CTC can align a chunk that fits it in all of them.

    Args:
        folders: folders of the trainings.
        networks: modules that may be imported for the networks.
    """
    return max(load_network(folder / "best.pt", networks).stride for folder in folders)


def new_reads(cfg: DictConfig) -> bool:
    """Whether no read of the test split has chunks in another split, as it may if the genome's positions are split, not reads.

    Args:
        cfg: the search's config.
    """
    dataset, split = split_of(settings(cfg).data, "test")
    if split is None:  # a separate source
        return True
    held = dataset.splits == SPLITS.index(split)
    return not np.isin(dataset.read_ids[held], dataset.read_ids[~held]).any()


def tested(chosen: Settings, folder: Path, stride: int) -> HeldOutReads:
    """Scores a training's best checkpoint on the test split (all of `data.test` if that is a separate source) by beam search,
    and fits the qualities of its basecalls on the validation split: `calibration.json`.

    The result is kept in `test.json`, and read from there while checkpoint, stride, data and code stay the same.

    Args:
        chosen: the search's settings.
        folder: folder of the training.
        stride: the largest stride of the trainings to compare: all are tested on the chunks that fit it. `train.infeasible`
            does not limit the others: a finished search must not fail here, and another value would be another search.
    """
    dataset, split = split_of(chosen.data, "test")
    own, _ = split_of(chosen.data, "validation")
    weights = content_digest(folder / "best.pt")
    key = digest([weights, stride, dataset.fingerprint, own.fingerprint, code_version(), TEST_VERSION])
    with suppress(ValueError):  # the file is missing or incomplete
        kept = from_json(_Test, read_json(folder / "test.json"))
        if kept.key == key:
            return kept.scores
    network = load_network(folder / "best.pt", chosen.networks).to(choose_device(chosen.device))
    indices = choose(dataset, split, None, stride, tolerated=1.0)
    there = len(dataset.indices(split)) if split else len(dataset)
    scores, tally = evaluate_chunks(network, dataset, indices, "beam")
    identities = dict[str, list[float]]()
    for read, identity in zip(tally.read_ids, tally.identities, strict=True):
        identities.setdefault(read, []).append(identity)
    of_reads = {read: float(np.mean(values)) for read, values in identities.items()}
    counts = {read: len(values) for read, values in identities.items()}
    held_out = HeldOutReads(
        **vars(scores), reads=len(of_reads), too_dense=there - len(indices), identities=of_reads, chunks_of=counts
    )
    validation = choose(own, "validation", chosen.train.validation_chunks, network.stride, tolerated=1.0)
    _, tally = evaluate_chunks(network, own, validation, "beam")
    write_json(folder / "calibration.json", to_json(calibrate(tally.quality)))
    write_json(folder / "test.json", to_json(_Test(key, held_out)))
    return held_out
