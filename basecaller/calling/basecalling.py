"""Basecalls of POD5 files: one file of calls for each.

`basecaller.json` in the output folder records the model and the POD5 files, so that a folder never holds calls of several
models, and the calls of one POD5 file are never taken for those of another with the same name.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from basecaller.calling.caller import Caller
from basecaller.calling.files import reads_in, signals, write_alignments, write_fastq
from basecaller.calling.model import Trained, load_model
from basecaller.calling.quality import UNCALIBRATED, calibration_from
from basecaller.common.errors import SettingError
from basecaller.common.files import check_writable, content_digest, holding, read_json, replacing, shared_lock, write_json
from basecaller.common.workers import cores
from basecaller.config.schema import FORMATS, BasecallOptions
from basecaller.data.dataset import ALPHABET
from basecaller.data.pod5 import UNREADABLE, pod5_files
from basecaller.data.sources import file_fingerprint

log = logging.getLogger(__name__)

NO_BASE = "without a base"


@dataclass(frozen=True)
class Basecalled:
    """The work of `basecall`.

    Attributes:
        files, files_before: number of files written, and of those that were there before.
        reads: number of called reads.
        bases, samples: number of called bases, and of samples of signal.
        unwritten: number of reads that are not written, by reason: `NO_BASE` or one of `UNREADABLE`.
        seconds: time that it took.
    """

    files: int
    files_before: int
    reads: int
    bases: int
    samples: int
    unwritten: dict[str, int]
    seconds: float


def claim(output: Path, model: Trained, decoder: str) -> dict[str, Any]:
    """Records a folder's model and decoder, so that it never holds calls of several models.

    Returns:
        The record; `files` has the fingerprint of each file's POD5.
    Raises:
        SettingError: the folder has calls of another model or decoder.
    """
    by = {
        "model": str(model.folder),
        "weights": content_digest(model.folder / "best.pt"),
        "decoder": decoder,
        "calibration": asdict(model.calibration) if model.calibration else None,
    }
    found = read_json(output / "basecaller.json") or {}
    other = [key for key in ("weights", "decoder", "calibration") if found and found.get(key) != by[key]]
    if other and any(file.suffix[1:] in FORMATS for file in output.rglob("*")):
        raise SettingError(
            f"output={output}: has basecalls of {found.get('model')} with decoder={found.get('decoder')}, which differs in "
            f"{', '.join(other)}; give another folder, or remove that one"
        )
    record = by | {"files": {} if other else found.get("files", {})}
    write_json(output / "basecaller.json", record)
    return record


def basecall(chosen: BasecallOptions, console: Console, command: str = "") -> Basecalled:
    """Calls every POD5 file that has not been called yet. Reads without a called base are counted, and not written.

    If several processes share an output folder, one works; the others wait for it and find its files.

    Args:
        chosen: the options of the command.
        console: shows progress, and that qualities are not calibrated.
        command: the command line, for the header of SAM and BAM files.
    Raises:
        DataError: the model or a POD5 file cannot be used; SettingError: a setting is invalid, or `output` has calls of another
            model or another POD5 file. Unfinished files are removed, finished ones stay.
    """
    files = pod5_files(chosen.reads, "reads")
    total = sum(map(reads_in, files))
    torch.set_num_threads(chosen.threads or cores())
    model = load_model(chosen.model, chosen.device, chosen.networks)
    if chosen.calibration is not None:
        model = replace(model, calibration=calibration_from(Path(chosen.calibration)))
    if chosen.format != "fastq" and not set(model.network.alphabet) <= set(ALPHABET):
        raise SettingError(
            f"format={chosen.format}: SAM and BAM cannot hold the model's letters {model.network.alphabet} (others than "
            f"{ALPHABET} are ambiguous bases there, or become N); use format=fastq"
        )
    caller = Caller(model.network, chosen.chunk_samples, chosen.batch_size, chosen.decoder)  # type: ignore[arg-type]
    if model.calibration is None:
        console.print(f"qualities are not calibrated; calibrate them with: python -m basecaller.evaluate model={chosen.model}")
    output = Path(chosen.output)
    check_writable(output)
    with holding(shared_lock(output / ".lock"), f"writes basecalls to {output}"):
        record = claim(output, model, chosen.decoder)
        return _call_files(chosen, caller, model, files, total, record, console, command)


def _call_files(
    chosen: BasecallOptions,
    caller: Caller,
    model: Trained,
    files: list[Path],
    total: int,
    record: dict[str, Any],
    console: Console,
    command: str,
) -> Basecalled:
    """Calls the files that have no output yet. The caller holds the folder's lock.

    Raises:
        SettingError: `output` has calls of another POD5 file of the same name.
    """
    root = Path(chosen.reads) if Path(chosen.reads).is_dir() else Path(chosen.reads).parent
    quality = model.calibration or UNCALIBRATED
    counts = Counter[str]()
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reads", total=total)
        for file in files:
            name = file.relative_to(root).with_suffix(f".{chosen.format}")
            target, fingerprint = Path(chosen.output) / name, file_fingerprint(file)
            if target.exists():
                if record["files"].get(str(name), fingerprint) != fingerprint:
                    raise SettingError(
                        f"output={chosen.output}: {target} has the calls of another POD5 file, not of {file}; give another "
                        "folder, or remove that file"
                    )
                counts["files before"] += 1
                progress.advance(task, reads_in(file))
                continue
            with replacing(target) as partial:
                calls = caller.calls(signals(file, counts, model.signals))
                if chosen.format == "fastq":
                    written = write_fastq(partial, calls, quality)
                else:
                    stride, binary = model.network.stride, chosen.format == "bam"
                    written = write_alignments(partial, calls, quality, stride, binary, command, model.rna)
                for call in written:
                    counts["reads"] += 1
                    counts[NO_BASE] += not call.sequence
                    counts["bases"] += len(call.sequence)
                    progress.advance(task)
            record["files"][str(name)] = fingerprint
            write_json(Path(chosen.output) / "basecaller.json", record)
            counts["files"] += 1
            if not console.is_terminal:
                log.info("%s: %d of %d files", target, counts["files"] + counts["files before"], len(files))
    return Basecalled(
        files=counts["files"],
        files_before=counts["files before"],
        reads=counts["reads"],
        bases=counts["bases"],
        samples=counts["samples"],
        unwritten={reason: counts[reason] for reason in (NO_BASE, *UNREADABLE) if counts[reason]},
        seconds=time.perf_counter() - started,
    )
