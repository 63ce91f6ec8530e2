"""Small POD5 and BAM files of simulated reads, as sequencer and basecaller would write them."""

from __future__ import annotations

import array
import datetime
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pod5
import pysam

from basecaller.data.signal import normalise, reverse_complement
from basecaller.data.simulator import ADC_STEP, FLANK, simulate_read
from basecaller.networks.decode import to_string

STRIDE = 5  # of the move tables
TRIMMED = 25  # samples before the first base


@dataclass
class SimulatedRead:
    """read_id; labels uint8 [bases] in signal order; starts int64 [bases] in the whole signal; adc int16 [samples]."""

    read_id: str
    labels: np.ndarray
    starts: np.ndarray
    adc: np.ndarray

    @property
    def sequence(self) -> str:
        return to_string(self.labels)

    @property
    def moves(self) -> np.ndarray:
        """A move table whose blocks hold the starts of the bases, at most one each."""
        blocks = (len(self.adc) - TRIMMED) // STRIDE
        table = np.zeros(blocks + 1, np.int8)
        table[0] = STRIDE
        at = -1
        for start in self.starts:
            at = max(at + 1, (int(start) - TRIMMED) // STRIDE)
            table[1 + at] = 1
        return table

    @property
    def move_starts(self) -> np.ndarray:
        return TRIMMED + np.flatnonzero(self.moves[1:]) * STRIDE


def make_reads(count: int, bases: int = 300, seed: int = 0, genome: np.ndarray | None = None) -> list[SimulatedRead]:
    """Reads of random sequence, or of stretches of a genome, one after the other."""
    rng = np.random.default_rng(seed)
    reads = []
    for number in range(count):
        labels = rng.integers(1, 5, bases + 2 * FLANK).astype(np.uint8)
        if genome is not None:
            at = number * (len(genome) - bases) // max(1, count - 1)
            labels[FLANK:-FLANK] = genome[at : at + bases]
        signal, starts = simulate_read(labels, rng)
        padded = np.concatenate([np.full(TRIMMED, 100.0), signal, np.full(50, 90.0)])
        read_id = str(uuid.UUID(bytes=rng.bytes(16), version=4))
        adc = np.rint(padded / ADC_STEP).astype(np.int16)
        reads.append(SimulatedRead(read_id, labels[FLANK:-FLANK], starts + TRIMMED, adc))
    return reads


@dataclass
class AlignedRead:
    """An aligned read with its true alignment.

    Attributes:
        read: what the basecaller called, on the signal of the whole molecule.
        record: its BAM record, without MD.
        md: the MD tag.
        genome: uint8, the contig that it is aligned to.
        labels, positions: uint8, int64 [columns], the reference's bases under it, introns left out, in signal order.
        called: int64 [columns], the called base in each of them; -1 for a deletion.
    """

    read: SimulatedRead
    record: pysam.AlignedSegment
    md: str
    genome: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    called: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """First sample of each column's base, by the move table; -1 for a deletion."""
        return np.where(self.called < 0, -1, self.read.move_starts[self.called])


CONTIG = "contig"


def aligned_read(
    operations: list[tuple[str, int]],
    reverse: bool = False,
    rna: bool = False,
    seed: int = 0,
    before: int = 10,
    after: int = 10,
) -> AlignedRead:
    """A read and its alignment, made of CIGAR operations along the reference's forward strand.

    Args:
        operations: letters of M = X I D N S H and lengths; `d` is a deletion of bases that the molecule has and the basecaller
            missed, where `D` deletes bases that it lacks.
        reverse: the molecule is of the reverse strand.
        rna: its signal runs from the 3' end.
        seed: of sequence, signal and read id.
        before, after: bases of the contig around the alignment.
    """
    rng = np.random.default_rng(seed)
    genome, molecule, call = [*rng.integers(1, 5, before)], list[int](), list[int]()  # call: 0 where a base was missed
    columns, md, same = list[tuple[int, int]](), "", 0  # position, base of the molecule or -1
    for kind, length in operations:
        if kind in "Dd":
            md, same = f"{md}{same}^", 0
        for _ in range(length):
            base = int(rng.integers(1, 5))
            if kind in "M=XIdSH":
                molecule.append(base)
                call.append(0 if kind == "d" else base % 4 + 1 if kind == "X" else base)
            if kind in "M=XDd":
                columns.append((len(genome), -1 if kind in "Dd" else len(molecule) - 1))
                md, same = (md + to_string(np.array([base])), 0) if kind in "Dd" else (md, same + 1)
            if kind in "X":
                md, same = f"{md}{same - 1}{to_string(np.array([base]))}", 0
            if kind in "M=XDdN":
                genome.append(base)
    genome += [*rng.integers(1, 5, after)]
    forward, letters = np.array(molecule, np.uint8), np.array(call, np.uint8)
    turned = reverse_complement(forward) if reverse else forward  # 5' to 3'
    flank = rng.integers(1, 5, FLANK).astype(np.uint8)
    signal, starts = simulate_read(np.concatenate([flank, turned, flank]), rng)
    if rna:
        signal, starts = signal[::-1], (len(signal) - np.append(starts[1:], len(signal)))[::-1]
    backwards = reverse != rna
    heard = letters[::-1] if backwards else letters  # in signal order; a base of the molecule that was missed is 0
    complement = np.where(heard > 0, 5 - heard, 0) if reverse else heard
    padded = np.concatenate([np.full(TRIMMED, 100.0), signal, np.full(50, 90.0)])
    adc = np.rint(padded / ADC_STEP).astype(np.int16)
    read_id = str(uuid.UUID(bytes=rng.bytes(16), version=4))
    read = SimulatedRead(read_id, complement[heard > 0].astype(np.uint8), starts[heard > 0] + TRIMMED, adc)
    positions, of_molecule = np.array(columns, np.int64).reshape(-1, 2).T
    number = np.cumsum(letters > 0) - 1  # of the called bases, along the reference
    called = np.where(of_molecule < 0, -1, number[of_molecule])
    labels = np.array(genome, np.uint8)[positions]
    if reverse:
        labels = 5 - labels
    if backwards:
        labels, positions = labels[::-1], positions[::-1]
        called = np.where(called < 0, -1, number[-1] - called)[::-1]
    record = pysam.AlignedSegment(pysam.AlignmentHeader.from_references([CONTIG], [len(genome)]))
    record.query_name, record.flag, record.reference_id, record.reference_start = read_id, 16 if reverse else 0, 0, before
    hard = [length if kind == "H" else 0 for kind, length in (operations[0], operations[-1])]
    stored = letters[letters > 0]
    record.query_sequence = to_string(stored[hard[0] : len(stored) - hard[1]])
    record.cigarstring = "".join(f"{length}{kind.upper()}" for kind, length in operations)
    record.set_tag("ts", TRIMMED)
    record.set_tag("mv", array.array("b", read.moves.tolist()))
    return AlignedRead(read, record, f"{md}{same}", np.array(genome, np.uint8), labels, positions, called)


def write_fasta(path: Path, contigs: dict[str, np.ndarray | str], width: int = 60, end: str = "\n") -> Path:
    """A FASTA of labels, or of letters as they are."""
    lines = []
    for name, bases in contigs.items():
        text = bases if isinstance(bases, str) else to_string(bases)
        lines += [f">{name}", *(text[i : i + width] for i in range(0, len(text), width))]
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def write_pod5(
    path: Path,
    reads: list[SimulatedRead],
    scale: float = ADC_STEP,
    offset: float = 0.0,
    kit: str = "test",
    rates: tuple[int, ...] = (4000,),
    end: pod5.EndReasonEnum = pod5.EndReasonEnum.SIGNAL_POSITIVE,
) -> Path:
    """Reads of one run, or in turn of several, which differ in their sample rates."""
    now = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    words = ("acquisition_id", "experiment_name", "flow_cell_id", "flow_cell_product_code", "protocol_name", "protocol_run_id",
             "sample_id", "sequencer_position", "sequencer_position_type", "software", "system_name",
             "system_type")  # fmt: skip
    runs = [
        pod5.RunInfo(
            **dict.fromkeys(words, f"test {rate}"),
            acquisition_start_time=now,
            protocol_start_time=now,
            adc_max=2047,
            adc_min=-2048,
            context_tags={},
            tracking_id={},
            sequencing_kit=kit,
            sample_rate=rate,
        )
        for rate in rates
    ]
    with pod5.Writer(path) as writer:
        for number, read in enumerate(reads):
            writer.add_read(
                pod5.Read(
                    read_id=uuid.UUID(read.read_id),
                    pore=pod5.Pore(1, 1, "not_set"),
                    calibration=pod5.Calibration(offset, scale),
                    median_before=200.0,
                    end_reason=pod5.EndReason(end, False),
                    read_number=number,
                    run_info=runs[number % len(runs)],
                    start_sample=0,
                    signal=read.adc,
                )
            )
    return path


def write_bam(path: Path, records: list[pysam.AlignedSegment], references: dict[str, int] | None = None) -> Path:
    header = {"HD": {"VN": "1.6"}, "SQ": [{"SN": name, "LN": length} for name, length in (references or {}).items()]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as bam:
        for record in records:
            bam.write(record)
    return path


def unaligned(read: SimulatedRead, moves: bool = True) -> pysam.AlignedSegment:
    """A basecaller's record: sequence and move table, no alignment."""
    record = pysam.AlignedSegment()
    record.query_name, record.flag, record.query_sequence = read.read_id, 4, read.sequence
    record.set_tag("ts", TRIMMED)
    if moves:
        record.set_tag("mv", array.array("b", read.moves.tolist()))
    return record


def aligned(
    read: SimulatedRead, contig: int, position: int, cigar: list[tuple[int, int]], reverse: bool
) -> pysam.AlignedSegment:
    """A record of a called read with an alignment of one's own; sequences of the reverse strand are stored reversed."""
    record = unaligned(read)
    if reverse:
        record.query_sequence = to_string(reverse_complement(read.labels))
    record.flag = 16 if reverse else 0
    record.reference_id, record.reference_start, record.cigartuples = contig, position, cigar
    return record


def make_source(folder: Path, count: int = 60, bases: int = 300, seed: int = 0) -> tuple[Path, Path, list[SimulatedRead]]:
    """A POD5 file and its BAM of unaligned basecalls."""
    folder.mkdir(parents=True, exist_ok=True)
    reads = make_reads(count, bases, seed)
    return write_pod5(folder / "reads.pod5", reads), write_bam(folder / "calls.bam", [unaligned(r) for r in reads]), reads


def bonito_directory(folder: Path, count: int = 60, width: int = 600, dtype: type = np.float16, seed: int = 0) -> Path:
    """Bonito's arrays: chunks of one width from simulated reads, with the bases that lie whole inside."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks, targets = [], []
    for read in make_reads(count, width // 6, seed):
        signal = read.adc[read.starts[0] :][:width].astype(np.float32) * ADC_STEP
        whole = read.labels[np.append(read.starts[1:], len(read.adc)) - read.starts[0] <= width]
        raw = np.dtype(dtype).kind == "i"
        chunks.append(np.rint(signal * 10) if raw else normalise(signal))
        targets.append(whole)
    references = np.zeros((count, max(map(len, targets))), np.uint8)
    for row, labels in zip(references, targets, strict=True):
        row[: len(labels)] = labels
    np.save(folder / "chunks.npy", np.array(chunks, dtype))
    np.save(folder / "references.npy", references)
    np.save(folder / "reference_lengths.npy", np.array([len(labels) for labels in targets], np.uint16))
    return folder


def tensors(folder: Path, count: int = 60, ending: str = "pth", seed: int = 0) -> tuple[Path, list[SimulatedRead]]:
    """The original RawCTCNet's files, labels in its order: 1=A 2=G 3=C 4=T; `2018` is `pth` as PyTorch wrote it then."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    reads = make_reads(count, 60, seed)
    columns = {
        "signals": [normalise(read.adc) for read in reads],
        "sequences": [np.array([0, 1, 3, 2, 4], np.uint8)[read.labels] for read in reads],
    }
    for name, values in columns.items():
        stops = np.cumsum([len(value) for value in values])
        index = np.stack([stops - [len(value) for value in values], stops], 1)
        for kind, content in (("idxs", index), ("data", np.concatenate(values))):
            if ending == "npy":
                np.save(folder / f"{name}.{kind}.npy", content)
            else:
                zipped = ending != "2018"
                torch.save(torch.from_numpy(content), folder / f"{name}.{kind}.pth", _use_new_zipfile_serialization=zipped)
    return folder, reads


def fastq(path: Path) -> dict[str, tuple[str, str]]:
    """Bases and qualities of a FASTQ file, by read id."""
    lines = path.read_text().splitlines()
    assert all(line[0] == "@" for line in lines[::4])
    return {
        name[1:].split()[0]: (bases, quality) for name, bases, quality in zip(lines[::4], lines[1::4], lines[3::4], strict=True)
    }
