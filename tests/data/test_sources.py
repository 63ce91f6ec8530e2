"""Bonito directories, the original's tensors, mixtures, and test sets from elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from basecaller.calling.model import Trained
from basecaller.common.errors import DataError, SettingError
from basecaller.config.composition import compose_config
from basecaller.config.settings import data_settings, settings
from basecaller.data import Dataset
from basecaller.data import sources as sources_module
from basecaller.data.audit import audit
from basecaller.data.batches import training_batches
from basecaller.data.signal import normalise
from basecaller.data.sources import prepare
from basecaller.hpo.records import StudyRecord, trials_of
from basecaller.hpo.storage import current_study, open_study
from basecaller.networks.decode import to_string
from basecaller.runs.findings import data_findings
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from basecaller.search_plan.held_out import largest_stride
from basecaller.search_plan.held_out import tested as metrics_of_the_test_set
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
from basecaller.task import TASK
from tests.conftest import TINY, Command
from tests.helpers.reads import bonito_directory, tensors

SHARES = ["data.validation=0.2", "data.test=0.2"]
SMALL = [line for line in TINY if not line.startswith(("data.", "search."))]


pytestmark = pytest.mark.usefixtures("folder")


def dataset_of(*overrides: str) -> Dataset:
    data = data_settings(compose_config(list(overrides)))
    return prepare(data.name, data.source, Path(data.folder))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
def test_a_bonito_directory_is_read_in_place(folder, dtype):
    path = bonito_directory(folder / "b", dtype=dtype)
    dataset = dataset_of("data=bonito", f"data.path={path}", *SHARES)
    assert len(dataset) == 60
    assert {split: len(dataset.indices(split)) for split in ("train", "validation", "test")} == {
        "train": 36, "validation": 12, "test": 12,
    }  # fmt: skip
    assert sum(file.stat().st_size for file in dataset.folder.iterdir()) < (path / "chunks.npy").stat().st_size
    signal, labels, starts = dataset.chunk(7)
    assert starts is None
    expected = np.load(path / "chunks.npy")[7]
    assert np.allclose(signal, expected) if dtype != np.int16 else abs(float(np.median(signal))) < 0.05
    length = int(np.load(path / "reference_lengths.npy")[7])
    assert labels.tolist() == np.load(path / "references.npy")[7][:length].tolist()


def test_a_bonito_directory_says_how_its_signals_were_normalised(folder):
    path, raw = bonito_directory(folder / "b"), bonito_directory(folder / "raw", dtype=np.int16)
    data = ["data=bonito", f"data.path={path}", *SHARES]
    default, quantile = dataset_of(*data), dataset_of(*data, "data.normalisation=quantile")
    assert default.fingerprint != quantile.fingerprint
    assert np.array_equal(default.chunk(7)[0], quantile.chunk(7)[0])  # the signals stay unchanged
    with pytest.raises(DataError, match=r"raw/chunks\.npy: has raw counts, .* data\.normalisation=quantile needs"):
        dataset_of("data=bonito", f"data.path={raw}", "data.normalisation=quantile", *SHARES)
    constants = ["data.normalisation=standardise", "data.mean=93.7", "data.stdev=23.5"]
    made = {dataset_of(*data, *constants[:2], f"data.stdev={stdev}").fingerprint for stdev in (23.5, 24)}
    assert len(made | {default.fingerprint, quantile.fingerprint}) == 4
    model = Trained(folder, None, compose_config([*data, *constants]), None)  # type: ignore[arg-type]
    assert (model.signals.mean, model.signals.stdev) == (93.7, 23.5)
    assert model.data(data).source == data_settings(compose_config([*data, *constants])).source
    with pytest.raises(
        SettingError, match=r"data\.mean=93: .* was trained with data\.normalisation=standardise data\.mean=93\.7"
    ):
        model.data([*data, constants[0], "data.mean=93", constants[2]])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["data.normalisation=standardise", "data.mean=90"], r"data\.stdev: must be given in pA"),
        (["data.normalisation=standardise", "data.stdev=20"], r"data\.mean: must be given in pA"),
        (["data.normalisation=standardise", "data.mean=90", "data.stdev=0"], r"data\.stdev=0.*: must be above 0"),
        (["data.mean=90"], r"data\.mean=90: is for data\.normalisation=standardise only"),
        (["data.normalisation=quantile", "data.stdev=20"], r"data\.stdev=20: is for data\.normalisation=standardise only"),
    ],
)
def test_mean_and_stdev_belong_to_standardised_signals(folder, given, words):
    with pytest.raises(SettingError, match=words):
        data_settings(compose_config(["data=bonito", f"data.path={folder}", *given]))


@pytest.mark.slow
def test_directories_of_different_width_train_together_in_every_padding(folder):
    paths = bonito_directory(folder / "a", 40, 600), bonito_directory(folder / "b", 40, 900, np.float32, seed=1)
    given = ["data=bonito", f"data.path=[{paths[0]},{paths[1]}]", *SHARES, "data.batch_size=4", *SMALL]
    dataset = dataset_of(*given[:4])
    assert sorted(set(dataset.lengths.tolist())) == [600, 900]
    for padding in ("off", "on", "masked"):
        cfg = compose_config([*given, f"padding={padding}"])
        TASK.prepare(cfg)
        result = train(resolve_job(cfg, folder / padding))
        assert np.isfinite(result.metrics["val_loss"])
    for batch in training_batches(dataset, dataset.indices("train"), [(len(dataset.indices("train")), 4)], "off", 4, 1, 0):
        assert len(set(batch.lengths.tolist())) == 1
        assert batch.signal.shape[1] == batch.lengths[0]


def test_indices_limit_and_validation_directory_are_followed(folder):
    path = bonito_directory(folder / "b", 50)
    np.save(path / "indices.npy", np.arange(10, 40))
    dataset = dataset_of("data=bonito", f"data.path={path}", *SHARES)
    assert [int(name.decode().split(":")[1]) for name in dataset.read_ids] == list(range(10, 40))
    np.save(
        path / "indices.npy", np.append(np.arange(60, 45, -1), np.arange(10, 40))
    )  # Bonito leaves rows out that are not there
    more = dataset_of("data=bonito", f"data.path={path}", *SHARES)
    assert [int(name.decode().split(":")[1]) for name in more.read_ids] == [*range(10, 40), *range(46, 50)]
    assert more.meta["counts"]["rows of indices.npy beyond the arrays"] == 11
    np.save(path / "indices.npy", np.arange(10, 40))
    few = dataset_of("data=bonito", f"data.path={path}", "data.limit=12", *SHARES)
    assert len(few) == 12
    assert few.read_ids.tolist() == dataset_of("data=bonito", f"data.path={path}", "data.limit=12", *SHARES).read_ids.tolist()
    bonito_directory(path / "validation", 10, seed=5)
    split = dataset_of("data=bonito", f"data.path={path}", *SHARES)
    assert [len(split.indices(name)) for name in ("train", "validation", "test")] == [30, 5, 5]
    assert split.chunk(30)[1].tolist() == np.load(path / "validation/references.npy")[0][: len(split.chunk(30)[1])].tolist()
    alone = dataset_of("data=bonito", f"data.path={path}/validation", *SHARES)  # as a source of its own, such as data.test
    assert [len(alone.indices(name)) for name in ("train", "validation", "test")] == [6, 2, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.int16])
def test_padding_of_a_bonito_directory_is_no_signal(folder, dtype):
    """Bonito before 0.4 says how long each chunk is."""
    path = bonito_directory(folder / "b", dtype=dtype)
    chunks, lengths = np.load(path / "chunks.npy"), np.full(60, 600, np.uint16)
    lengths[:30], lengths[59] = 500, 0
    expected = chunks[7, :500]
    chunks[:30, 500:] = 0
    np.save(path / "chunks.npy", chunks)
    np.save(path / "chunk_lengths.npy", lengths)
    dataset = dataset_of("data=bonito", f"data.path={path}", *SHARES)
    assert dataset.lengths.tolist() == [500] * 30 + [600] * 29
    signal = dataset.chunk(7)[0]
    np.testing.assert_array_equal(signal, normalise(expected) if dtype == np.int16 else expected)
    np.testing.assert_array_equal(
        dataset_of("data=bonito", f"data.path={path}", "data.rna=true", *SHARES).chunk(7)[0], signal[::-1]
    )
    found = audit(dataset)
    assert found.padded == 0
    assert found.counts == {"chunks kept": 59, "chunks dropped: no signal": 1}
    np.save(path / "chunk_lengths.npy", lengths[:5])
    with pytest.raises(DataError, match=r"chunk_lengths\.npy: \[5\] does not fit"):
        dataset_of("data=bonito", f"data.path={path}", *SHARES)


def test_bad_chunks_are_dropped_by_reason(folder):
    path = bonito_directory(folder / "b")
    chunks, references = np.load(path / "chunks.npy"), np.load(path / "references.npy")
    chunks[3, 5], chunks[4], references[5, 2] = np.nan, 0.5, 7
    lengths = np.load(path / "reference_lengths.npy")
    lengths[6] = 0
    for name, array in (("chunks", chunks), ("references", references), ("reference_lengths", lengths)):
        np.save(path / f"{name}.npy", array)
    counts = audit(dataset_of("data=bonito", f"data.path={path}", *SHARES)).counts
    assert counts == {
        "chunks kept": 56, "chunks dropped: NaN or infinite values in the signal": 1, "chunks dropped: constant signal": 1,
        "chunks dropped: labels outside the alphabet": 1, "chunks dropped: no labels": 1,
    }  # fmt: skip
    np.save(path / "references.npy", references * 0 + 7)
    with pytest.raises(DataError, match=r"begin at 0, or belong to another data\.alphabet"):
        dataset_of("data=bonito", f"data.path={path}", *SHARES)


def test_additional_letters_may_be_rare_but_not_absent(folder):
    path = bonito_directory(folder / "b")
    given = ["data=bonito", f"data.path={path}", "data.alphabet=ACGTM", *SHARES]
    assert any("M is 0.0% of the bases" in line for line in audit(dataset_of(*given)).verdict)
    references = np.load(path / "references.npy")
    references[::5, 0] = 5
    np.save(path / "references.npy", references)
    assert not any("of the bases" in line for line in audit(dataset_of(*given)).verdict)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: (path / "references.npy").unlink(), "has no references.npy"),
        (lambda path: np.save(path / "reference_lengths.npy", np.ones(3)), "do not belong together"),
        (lambda path: np.save(path / "indices.npy", np.array([1000])), "not a list of rows"),
        (
            lambda path: (path / "chunks.npy").write_bytes((path / "chunks.npy").read_bytes()[:5000]),
            "cannot be read as a NumPy",
        ),
        (lambda path: np.save(path / "chunks.npy", np.array([["a"]])), "has no numbers"),
    ],
)
def test_a_broken_directory_is_named(folder, spoil, words):
    path = bonito_directory(folder / "b")
    spoil(path)
    with pytest.raises(DataError, match=words):
        dataset_of("data=bonito", f"data.path={path}", *SHARES)
    assert not list(folder.glob("outputs/data/bonito-*"))


def test_signals_that_changed_after_preparing_are_noticed(folder):
    path = bonito_directory(folder / "b")
    given = ["data=bonito", f"data.path={path}", *SHARES]
    first = dataset_of(*given)
    moved = path.rename(folder / "elsewhere")
    again = dataset_of("data=bonito", f"data.path={moved}", *SHARES)
    assert again.folder == first.folder
    assert np.array_equal(again.chunk(3)[0], first.chunk(3)[0])
    with pytest.raises(DataError, match="fewer, or others"):
        Dataset(first.folder, [bonito_directory(folder / "c", 10) / "chunks.npy"])


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pth", "2018", "npy"])
def test_the_originals_tensors_have_their_labels_mapped(folder, ending):
    path, reads = tensors(folder / "t", ending=ending)
    dataset = dataset_of("data=rawctcnet", f"data.path={path}", *SHARES)
    assert len(dataset) == 60
    for i in (0, 17):
        number = int(dataset.read_ids[i].decode().partition("-")[2])
        assert to_string(dataset.chunk(i)[1]) == reads[number].sequence
    assert audit(dataset).counts["labels mapped from A G C T"] == 60


@pytest.mark.parametrize(("name", "dtype"), [("bonito", np.float16), ("bonito", np.int16), ("rawctcnet", None)])
def test_chunks_of_rna_are_turned_with_their_labels(folder, name, dtype):
    """Both run from the 3' end in the files, and a model of them calls from the 5' end."""
    path = bonito_directory(folder / "b", dtype=dtype) if name == "bonito" else tensors(folder / "t", ending="npy")[0]
    given = [f"data={name}", f"data.path={path}", *SHARES]
    as_dna, as_rna = dataset_of(*given), dataset_of(*given, "data.rna=true")
    assert as_rna.folder != as_dna.folder
    for i in (0, 7, 40):
        signal, labels, _ = as_dna.chunk(i)
        turned, reversed_labels, _ = as_rna.chunk(i)
        np.testing.assert_array_equal(turned, signal[::-1])
        np.testing.assert_array_equal(reversed_labels, labels[::-1])
    for told, rna in (("data.rna=true", True), ("data.rna=false", False)):
        assert Trained(folder, None, compose_config([*given, told]), None).rna is rna  # type: ignore[arg-type]
    mine = f"name: {name}, path: {path}"
    with pytest.raises(SettingError, match=r"data\.sources\.a is direct RNA"):
        data_settings(compose_config(["data=mixed", f"data.sources={{a: {{{mine}, rna: true}}, b: {{{mine}}}}}"]))


@pytest.mark.slow
def test_reads_without_base_positions_are_never_cropped(folder):
    path, _ = tensors(folder / "t")
    given = ["data=rawctcnet", f"data.path={path}", *SHARES, *SMALL]
    with pytest.raises(SettingError, match=r"padding=off: .* use padding=masked"):
        TASK.prepare(compose_config([*given, "padding=off"]))
    cfg = compose_config(given)
    assert cfg.padding.mode == "masked"  # its own default
    assert np.isfinite(train(resolve_job(cfg, folder / "run")).metrics["val_loss"])


@pytest.mark.slow
def test_a_search_compares_on_with_masked_if_chunks_cannot_be_cropped(folder):
    path, _ = tensors(folder / "t")
    given = ["data=rawctcnet", f"data.path={path}", *SHARES, *SMALL, "plan=[padding,batch_norm]", "search.workers=1"]
    given += [line for line in TINY if line.startswith("search.")]
    search = Search(Request(given), Console(quiet=True))
    search.run_stage("padding")
    asked = search.questions.latest["padding"]
    record = StudyRecord.of(open_study(search.request.url, asked.study))
    assert not record.skipped
    assert "chunks cannot be cropped" in record.note
    assert record.axes["padding"] == ["masked", "on"]
    search.run()
    study = current_study("sqlite:///outputs/optuna.db", "tiny", "batch_norm")
    assert {t.choices["padding"] for t in trials_of(study)} == {asked.answer["padding"]}
    assert (folder / "outputs/tiny/winner/calibration.json").exists()


def test_broken_tensors_are_named(folder):
    path, _ = tensors(folder / "t")
    (path / "signals.data.pth").write_bytes((path / "signals.data.pth").read_bytes()[:1000])
    with pytest.raises(DataError, match=r"signals\.data\.pth: cannot be read as a tensor"):
        dataset_of("data=rawctcnet", f"data.path={path}", *SHARES)
    (path / "signals.data.pth").unlink()
    with pytest.raises(DataError, match=r"has no signals\.data\.pth or signals\.data\.npy"):
        dataset_of("data=rawctcnet", f"data.path={path}", *SHARES)


@pytest.mark.slow
def test_a_mixture_has_its_sources_in_their_shares(folder):
    path = bonito_directory(folder / "b", 50)
    simulated = "{name: simulated, reads: 100, min_bases: 20, max_bases: 40, genome_bases: 50000, weight: 3}"
    sources = f"data.sources={{mine: {{name: bonito, path: {path}, weight: 1}}, more: {simulated}}}"
    dataset = dataset_of("data=mixed", sources, *SHARES)
    assert len(dataset) == 150
    assert dataset.alphabet == "ACGT"
    assert not dataset.has_starts
    chosen = dataset.choice("train", 40)
    share = Counter("more" if i >= 50 else "mine" for i in chosen)
    assert share == {"mine": 10, "more": 30}
    everything = dataset.choice("train", None)  # a small source repeats its chunks
    assert Counter(bool(i >= 50) for i in everything)[True] == pytest.approx(0.75 * len(everything), abs=1)
    validation = dataset.choice("validation", None)
    assert len(set(validation.tolist())) == len(validation)
    first = dataset.chunk(60)[0]
    assert np.array_equal(first, dataset.parts[1][2].chunk(10)[0])
    assert "mine: chunks kept" in audit(dataset).counts
    assert audit(dataset).shares == {"mine": 0.25, "more": 0.75}
    assert (dataset.folder / "audit.png").exists()
    result = train(resolve_job(compose_config(["data=mixed", sources, *SHARES, *SMALL, "padding=masked"]), folder / "run"))
    assert np.isfinite(result.metrics["val_loss"])
    other = dataset_of("data=mixed", sources.replace("weight: 3", "weight: 2"), *SHARES)
    assert other.fingerprint != dataset.fingerprint


def test_reads_of_two_parts_of_a_mixture_are_not_taken_for_each_other(folder):
    paths = [bonito_directory(folder / name, 20, seed=seed) for seed, name in enumerate("ab")]
    sources = ", ".join(f"{path.name}: {{name: bonito, path: {path}}}" for path in paths)
    dataset = dataset_of("data=mixed", f"data.sources={{{sources}}}", *SHARES)
    assert len(set(dataset.read_ids.tolist())) == 40
    assert dataset.read_ids[[0, 20]].tolist() == [b"a:0:0", b"b:0:0"]
    assert audit(dataset).splits["test"].reads == 8


def test_the_fingerprint_of_a_source_is_computed_once(folder, monkeypatch):
    asked = Counter[str]()

    def counting(path: Path, whole: bool = False) -> str:
        asked[path.name] += 1
        return original(path, whole)

    original = sources_module.file_fingerprint
    monkeypatch.setattr(sources_module, "file_fingerprint", counting)
    path = bonito_directory(folder / "b", 30)
    told = f"data.sources={{a: {{name: bonito, path: {path}}}, b: {{name: bonito, path: {path}, limit: 20}}}}"
    mixed = dataset_of("data=mixed", told, *SHARES)
    assert asked == {"chunks.npy": 2, "references.npy": 2, "reference_lengths.npy": 2}
    data = data_settings(compose_config(["data=mixed", told, *SHARES]))
    assert mixed.fingerprint == sources_module.source_fingerprint("mixed", data.source)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ("{}", "must name sources"),
        ("{a: {name: nothing}}", r"data\.sources\.a\.name=nothing"),
        ("{a: {name: simulated, weight: 0}}", r"data\.sources\.a\.weight=0: must be above 0"),
        ("{a: {name: bonito}}", r"data\.sources\.a\.path: must be given"),
        ("{a: {name: simulated, colour: red}}", r"data\.sources\.a\.colour: unknown key"),
        ("{a: 3}", "must describe a source"),
    ],
)
def test_errors_of_a_mixture_name_the_key(sources, words):
    with pytest.raises(SettingError, match=words):
        data_settings(compose_config(["data=mixed", f"data.sources={sources}"]))


def test_the_winner_may_be_tested_on_another_source(folder, run: Command):
    path = bonito_directory(folder / "b", 30)
    given = [line for line in TINY if not line.startswith(("data.test", "search."))]
    cfg = compose_config([*given, f"data.test={{name: bonito, path: {path}}}"])
    data = data_settings(cfg)
    main = prepare(data.name, data.source, Path(data.folder))
    assert len(main.indices("test")) == 0
    result = train(resolve_job(cfg, folder / "run"))
    assert result.facts.chunks > 0
    stride = largest_stride([folder / "run"])
    assert stride == cfg.model.stride
    tested = metrics_of_the_test_set(settings(cfg), folder / "run", stride)
    assert tested.reads == len(tested.identities) == 30
    assert set(tested.chunks_of.values()) == {1}
    assert metrics_of_the_test_set(settings(cfg), folder / "run", stride) == tested  # read from test.json
    told = run("evaluate", "model=run", "decoder=greedy")
    assert f"test split of {prepare(data.test.name, data.test.source, Path(data.folder)).folder}" in " ".join(
        told.stdout.split()
    )
    assert json.loads((folder / "run/evaluation/evaluation.json").read_text())["chunks"] == 30
    told = run("prepare", *given, f"data.test={{name: bonito, path: {path}}}")
    of_all, of_test = told.stdout.split("data.test, for the winner's test only")
    assert "chunks to train on" in of_all
    assert "no problems found" in of_test
    for test, words in (("path: gone", "gone is not a directory"), (f"path: {path}, alphabet: ACGTM", "its letters are ACGTM")):
        wrong = [*given, f"data.test={{name: bonito, {test}}}", "search.replicates=1"]
        assert words in run("search", *wrong, code=2).stderr  # before anything trains
    assert not (folder / "outputs/optuna.db").exists()
    assert not data_findings(settings(cfg))[1:]  # too few to train on, and nothing of the test set
    known = compose_config([*SMALL, "data=bonito", f"data.path={path}", f"data.test={{name: bonito, path: {path}}}"])
    assert any(" of the sequence of data.test is in train too" in line for line in data_findings(settings(known)))
    with pytest.raises(SettingError, match=r"data\.test=0: must be a share above 0, or a separate source"):
        data_settings(compose_config([*given, "data.test=0"]))
