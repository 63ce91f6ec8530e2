"""Evaluates a model on a data set or against a reference: scores, figure, tables, and the calibration of its qualities.

Qualities are calibrated on the validation split, never on the split whose scores are reported.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from basecaller.calling.caller import Call, Caller
from basecaller.calling.files import signals, some_reads
from basecaller.calling.model import load_model, split_of
from basecaller.calling.quality import UNCALIBRATED, CalibrationFit, QualityScores, calibrate, quality_scores
from basecaller.calling.scoring import evaluate_chunks, evaluate_reads
from basecaller.calling.tables import write_tables
from basecaller.common.errors import SettingError
from basecaller.common.facts import to_json
from basecaller.common.files import check_writable, replacing, write_json
from basecaller.common.workers import cores
from basecaller.config.schema import EvaluateOptions
from basecaller.data.dataset import Dataset
from basecaller.data.pod5 import UNREADABLE, pod5_files
from basecaller.networks.decode import Decoder
from basecaller.training.fit import choose
from basecaller.training.scores import ChunkScores, ReadScores

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The contents of `evaluation.json`.

    Attributes:
        model: folder of the model.
        data, split: the data set; None if reads are evaluated.
        reads_from, reference: the reads and their reference; None if a data set is evaluated.
        decoder: decoder of the scores.
        scores: scores of the basecalls.
        identities: identity of each chunk or read.
        calibration: calibration fitted on the validation split, if another split is evaluated.
        quality: scores of the qualities that the model writes.
    """

    model: str
    data: str | None
    split: str | None
    reads_from: str | None
    reference: str | None
    decoder: Decoder
    scores: ChunkScores | ReadScores
    identities: list[float]
    calibration: CalibrationFit | None
    quality: QualityScores

    def plain(self) -> dict[str, Any]:
        """JSON's values, with the scores at the top level."""
        content = to_json(self)
        scores, quality = content.pop("scores"), content.pop("quality")
        return content | scores | quality


def evaluate(chosen: EvaluateOptions, overrides: list[str]) -> tuple[Evaluation, Path]:
    """Evaluates a model, and writes `evaluation.json`, its figure, and the tables of benchmarks.

    Returns:
        The contents of `evaluation.json`, and its folder.
    Raises:
        BasecallerError: the model, the data or a setting cannot be used.
    """
    if (chosen.reads is None) != (chosen.reference is None):
        raise SettingError("reads and reference: give both, or neither to evaluate on a data set")
    if chosen.reads is not None and overrides:
        raise SettingError(f"{overrides[0]}: chooses a data set, but reads={chosen.reads} evaluates reads; leave one out")
    torch.set_num_threads(chosen.threads or cores())
    model = load_model(chosen.model, chosen.device, chosen.networks)
    folder, network, calibration = model.folder, model.network, model.calibration or UNCALIBRATED
    output = _output(chosen, folder)
    decoder: Decoder = chosen.decoder  # type: ignore[assignment]
    scores: ChunkScores | ReadScores
    fitted, data = None, None
    if chosen.reads is not None and chosen.reference is not None:
        caller = Caller(network, None, 16, decoder)
        counts = Counter[str]()
        files = pod5_files(chosen.reads, "reads")

        def calls_of_reads() -> Iterator[Call]:
            some = None if chosen.limit is None else some_reads(files, chosen.limit)
            for file in files:
                yield from caller.calls(signals(file, counts, model.signals, some))

        scores, tally = evaluate_reads(calls_of_reads(), Path(chosen.reference), network.alphabet, calibration)
        for reason in UNREADABLE:
            if counts[reason]:
                log.warning("reads=%s: %d reads are skipped: %s", chosen.reads, counts[reason], reason)
    else:
        settings = model.data(overrides)

        def chunks_of(split: str) -> tuple[Dataset, np.ndarray]:
            dataset, name = split_of(settings, split)
            indices = choose(dataset, name, None, network.stride, 1.0)
            if chosen.limit is not None:
                indices = np.random.default_rng(0).permutation(indices)[: chosen.limit]
            return dataset, indices

        dataset, indices = chunks_of(chosen.split)
        if told := model.signals.rate_warning(dataset.sample_rates):
            log.warning("%s: %s", dataset.folder, told)
        data = str(dataset.folder)
        if chosen.split != "validation":
            _, held = evaluate_chunks(network, *chunks_of("validation"), decoder)
            fitted = calibrate(held.quality)
            calibration = fitted.calibration
            if not overrides:  # on the model's own data
                write_json((output if chosen.output else folder) / "calibration.json", to_json(fitted))
        scores, tally = evaluate_chunks(network, dataset, indices, decoder, calibration)
    evaluation = Evaluation(
        model=str(folder),
        data=data,
        split=chosen.split if data else None,
        reads_from=chosen.reads,
        reference=chosen.reference,
        decoder=decoder,
        scores=scores,
        identities=tally.identities,
        calibration=fitted,
        quality=quality_scores(tally.quality, calibration),
    )
    write_json(output / "evaluation.json", evaluation.plain())
    write_tables(tally.counts, output / "tables")
    draw(evaluation, output / "evaluation.png")
    return evaluation, output


def _output(chosen: EvaluateOptions, model: Path) -> Path:
    """The folder for all output, created now so that a read-only folder is noticed before the work.

    Raises:
        SettingError: the model's folder is read-only, and no other is given; OSError: the given folder cannot be written to.
    """
    output = Path(chosen.output) if chosen.output else model / "evaluation"
    try:
        check_writable(output)
        if not chosen.output:
            check_writable(model)
    except OSError as error:
        if chosen.output:
            raise
        raise SettingError(f"model={model}: its folder cannot be written to ({error.strerror}); give output=FOLDER") from error
    return output


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draws the histogram of identities, qualities against observed errors, and homopolymers."""
    figure = Figure(figsize=(13.2, 3.4), layout="constrained")
    identity, quality, homopolymer = figure.subplots(1, 3)
    identity.hist(evaluation.identities, bins=np.linspace(0, 1, 51), color="#0072B2")
    identity.set(xlabel="identity", ylabel="reads" if evaluation.data is None else "chunks")
    bins = evaluation.quality.qualities
    raw = [each.raw for each in bins]
    quality.plot(raw, [each.observed for each in bins], "o", markersize=4, color="#0072B2", label="observed here")
    quality.plot(raw, [each.written for each in bins], color="#D55E00", label="written to FASTQ")
    quality.plot(raw, raw, ":", color="#999999", label="the network's own")
    quality.set(xlabel="quality by the network's probability (phred)", ylabel="quality (phred)")
    quality.legend(frameon=False)
    runs = evaluation.scores.homopolymers
    homopolymer.bar([each.length for each in runs], [each.correct for each in runs], color="#0072B2")
    homopolymer.set(xlabel="homopolymer length (8: 8 or longer)", ylabel="called with the correct length", ylim=(0, 1))
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
