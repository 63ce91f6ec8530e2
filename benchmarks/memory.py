"""Peak memory of a training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from basecaller.data.dataset import DTYPES, Dataset
from benchmarks.measuring import Row, default

LARGE = 2**30
"""Size of the signal in the large data set, in bytes."""


MEMORY = """
import sys, tempfile
from pathlib import Path
from benchmarks.measuring import default, run_of
from basecaller.data.dataset import Dataset
large, overrides = sys.argv[1], sys.argv[3:]

def peak():  # what the system cannot take back, unlike the pages of a file
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024

before = most = peak()
chosen, dataset = default(Path(sys.argv[2]), *overrides)
if large:
    dataset = Dataset(Path(large))
run = run_of(chosen, dataset, Path(tempfile.mkdtemp()))
for batch, _ in zip(run.epoch_batches(), range(50)):
    run.step(batch)
    most = max(most, peak())
print(most - before)
"""


def enlarged(dataset: Dataset, folder: Path, times: int) -> Path:
    """Writes a data set repeated many times as one, to get a large one on disk."""
    folder.mkdir()
    for name, kind in DTYPES.items():
        values = np.load(dataset.folder / f"{name}.npy")
        if name.endswith("offsets"):
            values = np.concatenate([[0], *(values[1:] + i * values[-1] for i in range(times))])
            np.save(folder / f"{name}.npy", values.astype(kind))
            continue
        out = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (len(values) * times,))
        for i in range(times):
            out[i * len(values) : (i + 1) * len(values)] = values
        out.flush()
    np.save(folder / "read_ids.npy", np.tile(dataset.read_ids, times))
    (folder / "meta.json").write_text(json.dumps(dataset.meta))
    return folder


def memory(folder: Path) -> list[Row]:
    """Peak memory of a training at batch 32, and its growth with read length and with the size of the data set."""

    def growth(overrides: list[str], large: str = "") -> float:
        command = [sys.executable, "-c", MEMORY, large, str(folder), "train.chunks=null", *overrides]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])

    peaks = [
        growth([f"data.min_bases={n}", f"data.max_bases={n}", "data.batch_size=32", "data.reads=200", "padding=on"])
        for n in (100, 400)
    ]
    dataset = default(folder)[1]
    large = enlarged(dataset, folder / "large", LARGE // dataset.signals.nbytes)
    size = (large / "signals.npy").stat().st_size / 2**20
    of_small, of_large = growth([]), growth([], str(large))
    return [
        Row(
            "peak memory, batch 32, reads of 400 and 100 bases",
            peaks[1],
            peaks[0],
            "MiB",
            peaks[1] / peaks[0],
            "at most linear (4)",
            peaks[1] <= 4.4 * peaks[0],
            "of the process above its imports, the files' pages apart",
        ),
        Row(
            f"memory of a {size:,.0f} MiB data set, and a small one",
            of_large,
            of_small,
            "MiB",
            of_large / of_small,
            "the set stays on disk",
            of_large - of_small < 0.2 * size,
            "50 batches of 8, all chunks in the draw",
        ),
    ]
