"""Qualities of called bases, and their fit to observed errors."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.calling.quality import (
    FEWEST,
    LEAST_QUALITY,
    MOST_QUALITY,
    UNCALIBRATED,
    Calibration,
    QualityBin,
    QualityScores,
    calibrate,
    calibration_from,
    quality_scores,
    raw_quality,
    read_calibration,
)
from basecaller.common.errors import DataError
from basecaller.common.files import write_json
from basecaller.data.records import mean_quality


def test_too_few_bases_fit_nothing_and_one_quality_only_an_offset():
    assert calibrate({20: [FEWEST - 1, 1]}).calibration == UNCALIBRATED
    alone = calibrate({20: [998, 99]})  # 100 errors in 1000 bases, by the rule of succession
    assert (alone.slope, alone.offset) == (1, -10)
    assert alone.bins == [QualityBin(20, 998, 10.0)]


def test_qualities_stay_within_their_bounds():
    assert Calibration(2.0, 0.0)(np.array([0.0, 0.99999])).tolist() == [LEAST_QUALITY, MOST_QUALITY]


def test_the_mean_quality_is_that_of_the_mean_error():
    assert mean_quality(np.array([10.0, 10.0])) == pytest.approx(10)
    assert mean_quality(np.array([])) == 0


def test_written_qualities_are_compared_with_observed_errors():
    seen = {10: [998, 99], 20: [998, 9], 30: [FEWEST - 1, 1]}  # the last quality has too few bases
    found = quality_scores(seen, Calibration(1.0, 2.0))
    assert [(each.raw, each.written, each.observed) for each in found.qualities] == [(10, 12, 10), (20, 22, 20)]
    assert found.quality_error == pytest.approx(2)
    assert quality_scores({}, Calibration()) == QualityScores([], 0.0)


def test_a_calibration_is_read_from_its_file_or_folder(tmp_path):
    assert read_calibration(tmp_path) is None
    write_json(tmp_path / "calibration.json", {"slope": 0.5, "offset": 3, "bins": []})
    assert read_calibration(tmp_path) == Calibration(0.5, 3.0)
    assert calibration_from(tmp_path) == calibration_from(tmp_path / "calibration.json") == Calibration(0.5, 3.0)


@pytest.mark.parametrize("content", [None, "", "{}", '{"slope": "steep", "offset": 0}', "[1]"])
def test_a_file_that_is_not_a_calibration_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(DataError, match=r"calibration=.*: neither a calibration\.json of basecaller\.evaluate"):
        calibration_from(tmp_path)


def test_qualities_are_fitted_to_observed_errors():
    fitted = calibrate({raw: [10_000, round(10_000 * 10 ** (-(0.5 * raw + 3) / 10))] for raw in range(2, 30, 2)})
    assert fitted.slope == pytest.approx(0.5, abs=0.02)
    assert fitted.offset == pytest.approx(3, abs=0.3)
    quality = fitted.calibration(np.array([0.9, 0.99]))
    assert quality == pytest.approx([8, 13], abs=0.4)
    assert raw_quality(np.array([0.9, 1.0])).round(3).tolist() == [10, 50]
    assert mean_quality(np.array([10.0, 20.0])) == pytest.approx(12.6, abs=0.01)
    assert calibrate({}).slope == 1
