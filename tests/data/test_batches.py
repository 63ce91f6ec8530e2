"""Batches: the same chunks for every padding, no padding with `off`, and labels inside the crop."""

import numpy as np
import pytest

from basecaller.common.errors import DataError
from basecaller.common.geometry import frames_needed, output_length
from basecaller.data.batches import PADDINGS, bucketed, collate, crop, padding_question, training_batches
from basecaller.data.dataset import Chunk, Dataset, DatasetWriter


def test_every_chunk_is_in_one_batch_of_about_equal_lengths():
    lengths = np.random.default_rng(0).integers(100, 2000, 500)
    indices = np.arange(0, 500, 2)
    batches = bucketed(indices, lengths, 8, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == indices.tolist()
    assert sorted(map(len, batches))[1:] == [8] * (len(batches) - 1)
    padded = sum(lengths[b].max() * len(b) for b in batches)
    assert padded / lengths[indices].sum() < 1.05


def test_the_order_depends_on_seed_and_epoch_only(dataset):
    indices = dataset.indices("train")

    def order(seed, epoch):
        return [b.lengths.tolist() for b in training_batches(dataset, indices, [(len(indices), 4)], "on", 5, seed, epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_padding_does_not_change_which_reads_share_a_batch(dataset):
    indices = dataset.indices("train")
    on = list(training_batches(dataset, indices, [(len(indices), 4)], "on", 5, 1, 0))
    off = list(training_batches(dataset, indices, [(len(indices), 4)], "off", 5, 1, 0))
    for padded, cropped in zip(on, off, strict=True):
        assert cropped.signal.shape[1] == padded.lengths.min()
        assert len(cropped.signal) == len(padded.signal)


def test_off_has_no_padded_sample_and_only_labels_inside_the_crop(dataset):
    for batch in training_batches(dataset, dataset.indices("train"), [(len(dataset.indices("train")), 8)], "off", 5, 1, 0):
        assert (batch.lengths == batch.signal.shape[1]).all()
        offsets = np.concatenate([[0], np.cumsum(batch.target_lengths)])
        assert (frames_needed(batch.targets, offsets) <= output_length(batch.lengths, 5)).all()
    # each cropped row is one end of its read, with exactly the bases that lie completely inside
    rows = dataset.indices("train")[:6]
    batch = collate(dataset, rows, "off", 5)
    targets = np.split(batch.targets, np.cumsum(batch.target_lengths)[:-1])
    for index, row, target in zip(rows, batch.signal, targets, strict=True):
        signal, labels, starts = dataset.chunk(index)
        ends = np.append(starts[1:], len(signal))
        fits = [
            labels[(starts >= begin) & (ends <= begin + len(row))].tolist() == target.tolist()
            for begin in (0, len(signal) - len(row))
            if np.array_equal(signal[begin : begin + len(row)].astype(np.float32), row)
        ]
        assert any(fits)


def test_crop_keeps_whole_bases_only():
    labels, starts = np.array([1, 2, 3, 4]), np.array([0, 10, 20, 30])
    assert crop(labels, starts, 40, 0, 25).tolist() == [1, 2]
    assert crop(labels, starts, 40, 15, 25).tolist() == [3, 4]
    assert crop(labels, starts, 40, 10, 10).tolist() == [2]


@pytest.mark.parametrize("padding", ["on", "masked"])
def test_padded_batches_hold_whole_reads_and_zeros(dataset, padding):
    rows = dataset.indices("train")[:5]
    batch = collate(dataset, rows, padding, 5)
    assert batch.signal.shape == (5, dataset.lengths[rows].max())
    for index, row, length in zip(rows, batch.signal, batch.lengths, strict=True):
        signal, labels, _ = dataset.chunk(index)
        np.testing.assert_array_equal(row[:length], signal.astype(np.float32))
        assert (row[length:] == 0).all()
    assert batch.target_lengths.tolist() == dataset.target_lengths[rows].tolist()
    assert len(labels) == batch.target_lengths[-1]


@pytest.mark.parametrize("padding", PADDINGS)
def test_nan_in_a_prepared_data_set_is_named(tmp_path, padding):
    with DatasetWriter(tmp_path / "set", {}) as writer:
        for split in ("train", "validation", "test"):
            writer.add(Chunk(f"read-{split}", np.ones(20), np.array([1, 2]), np.array([0, 9]), split))
    signals = np.load(tmp_path / "set" / "signals.npy", mmap_mode="r+")
    signals[25] = np.nan
    signals.flush()
    with pytest.raises(DataError, match="read-validation"):
        collate(Dataset(tmp_path / "set"), np.array([0, 1]), padding, 1)


@pytest.mark.parametrize(
    ("lengths", "starts", "choices", "why"),
    [
        ([20, 21, 22, 23], True, ["off", "on"], ""),
        ([20, 20, 20, 20], True, ["off"], "every chunk has 20 samples"),
        ([20, 20, 20, 20], False, ["off"], "every chunk has 20 samples"),
        ([20, 21, 22, 23], False, ["masked", "on"], "cannot be cropped"),
        ([20, 20, 21, 21], False, ["off", "on"], ""),  # a batch of two has chunks of one length
    ],
)
def test_the_padding_question_has_the_choices_that_the_data_can_tell_apart(tmp_path, lengths, starts, choices, why):
    with DatasetWriter(tmp_path / "set", {}) as writer:
        for number, length in enumerate([*lengths, 20, 20]):
            split = ("train", "validation", "test")[max(0, number - len(lengths) + 1)]
            known = np.array([0, 9]) if starts else None
            writer.add(Chunk(f"read-{number}", np.ones(length), np.array([1, 2]), known, split))
    found, reason = padding_question(Dataset(tmp_path / "set"), 2)
    assert found == choices
    assert why in reason
    assert bool(reason) == (choices != ["off", "on"])
