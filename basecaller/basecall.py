"""`basecaller basecall`: writes one file of basecalls for every POD5 file.

`basecaller.json` in the output folder records the model and the POD5 files, so that a folder never holds calls of several
models, and the calls of one POD5 file are never taken for those of another with the same name.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from basecaller.calling.caller import Caller
from basecaller.calling.files import reads_in, signals, write_alignments, write_fastq
from basecaller.calling.model import Trained, load_model
from basecaller.calling.quality import UNCALIBRATED, calibration_from
from basecaller.commandline import arguments, options
from basecaller.data.dataset import ALPHABET
from basecaller.data.pod5 import UNREADABLE, pod5_files
from basecaller.data.sources import file_fingerprint
from basecaller.entry import as_message
from basecaller.errors import SettingError
from basecaller.files import check_writable, content_digest, holding, read_json, replacing, shared_lock, write_json
from basecaller.schema import FORMATS, BasecallOptions
from basecaller.workers import cores

log = logging.getLogger(__name__)

COUNTED = (
    "files",
    "files there already",
    "reads",
    "without a base",
    *UNREADABLE,
    "bases",
    "samples",
)


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


def basecall(chosen: BasecallOptions, console: Console, command: str = "") -> dict[str, Any]:
    """Calls every POD5 file that has not been called yet. Reads without a called base are counted, and not written.

    If several processes share an output folder, one works; the others wait for it and find its files.

    Returns:
        Counts of files, of reads, of reads without a base or a signal, of bases and of samples; and the seconds it took.
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
) -> dict[str, Any]:
    """Calls the files that have no output yet, and returns the counts of `basecall`. The caller holds the folder's lock.

    Raises:
        SettingError: `output` has calls of another POD5 file of the same name.
    """
    root = Path(chosen.reads) if Path(chosen.reads).is_dir() else Path(chosen.reads).parent
    quality = model.calibration or UNCALIBRATED
    counts = Counter(dict.fromkeys(COUNTED, 0))
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
                counts["files there already"] += 1
                progress.advance(task, reads_in(file))
                continue
            with replacing(target) as partial:
                calls = caller.calls(signals(file, counts, model.signals.rna, model.signals))
                if chosen.format == "fastq":
                    written = write_fastq(partial, calls, quality)
                else:
                    stride, binary = model.network.stride, chosen.format == "bam"
                    written = write_alignments(partial, calls, quality, stride, binary, command, model.rna)
                for call in written:
                    counts["reads"] += 1
                    counts["without a base"] += not call.sequence
                    counts["bases"] += len(call.sequence)
                    progress.advance(task)
            record["files"][str(name)] = fingerprint
            write_json(Path(chosen.output) / "basecaller.json", record)
            counts["files"] += 1
            if not console.is_terminal:
                log.info("%s: %d of %d files", target, counts["files"] + counts["files there already"], len(files))
    return counts | {"seconds": time.perf_counter() - started}


@as_message
def main() -> None:
    overrides = arguments("basecall")
    console = Console(stderr=True, highlight=False)
    chosen = options("basecall", overrides, BasecallOptions)
    done = basecall(chosen, console, f"python -m basecaller.basecall {' '.join(overrides)}")
    rate = done["samples"] / done["seconds"] if done["seconds"] else 0.0
    console.print(
        f"{done['reads']:,} reads, {done['bases']:,} bases, {done['samples']:,} samples in {done['seconds']:.1f} s: "
        f"{rate:,.0f} samples per second; {done['files']} files in {chosen.output}, {done['files there already']} there before"
    )
    for kind in ("without a base", *UNREADABLE):
        if done[kind]:
            console.print(f"{done[kind]:,} reads not written: {kind}")
    if done["reads"] and not done["bases"]:
        console.print(f"model={chosen.model} calls only blanks: it has not learned anything; train it longer", style="bold")


if __name__ == "__main__":
    main()
