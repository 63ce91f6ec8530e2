"""The winner and the untuned defaults on the test split: trained alike, at seeds and on reads that no stage has used."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from basecaller.config import command
from basecaller.errors import StageError
from basecaller.files import content_digest, read_json, replacing, write_json
from basecaller.hpo.best import standing
from basecaller.hpo.identity import digest
from basecaller.hpo.storage import open_study
from basecaller.runs.code_version import code_version
from basecaller.search_plan.finalists import DEFAULTS, WINNER, Candidates
from basecaller.settings import settings

if TYPE_CHECKING:
    from basecaller.hpo.best import Standing
    from basecaller.hpo.records import TrialRecord

MODEL_FILES = ("best.pt", "config.yaml", "metrics.csv", "result.json", "calibration.json")
"""What makes a training's folder a model that can be called with."""


def write_winner(
    cfg: DictConfig, url: str, study_name: str, candidates: Candidates, longer: list[str], console: Console
) -> dict[str, Any]:
    """Tests the trainings of the headline, keeps the winner's best one in `winner/`, and writes `winner/winner.json`.

    Args:
        cfg: of the search.
        url, study_name: of the headline's study.
        candidates: the winner and the untuned defaults.
        longer: the overrides that make their trainings longer than a trial.
        console: where the headline is printed.
    Raises:
        StageError: none of the winner's trainings gave a model that is on this machine.
    """
    trials = _models(standing(open_study(url, study_name)))
    if not trials[WINNER]:
        raise StageError(f"{study_name}: none of the winner's trainings gave a model that is on this machine; see its trials")
    scores = {name: {seed: tested(cfg, _folder(trial)) for seed, trial in of.items()} for name, of in trials.items()}
    seed, best = min(trials[WINNER].items(), key=lambda pair: float(pair[1].value or math.inf))
    source, kept = _folder(best), Path(cfg.output_dir) / "winner"
    for name in MODEL_FILES:
        if (source / name).exists():
            with replacing(kept / name) as partial:
                shutil.copyfile(source / name, partial)
    overrides = [*candidates.given, *candidates.lines(WINNER), *longer, f"seed={seed}"]
    content: dict[str, Any] = {
        "settings": dict(sorted(candidates.settings[WINNER].items())),
        "val_loss": best.value,
        "test": {key: value for key, value in scores[WINNER][seed].items() if key != "identities"},
        "gain": gain(scores[WINNER], scores[DEFAULTS]),
        "facts": {key: best.facts.get(key) for key in ("updates", "samples", "seconds", "parameters", "receptive_field")},
        "command": command("train", overrides),
        "folder": str(kept),
        "study": study_name,
        "trial": best.number,
    }
    write_json(kept / "winner.json", content)
    test, gained = content["test"], content["gain"]
    console.print(
        f"test, {test['chunks']:,} chunks that no stage has seen, of {test['reads']:,} reads: loss {test['loss']:.4f} "
        f"nats/base, identity mean {test['identity_mean']:.1%}, median {test['identity_median']:.1%} (unrelated sequences "
        f"{test['identity_floor']:.1%})"
    )
    console.print(gained["text"])
    return content


def _folder(trial: TrialRecord) -> Path:
    assert trial.folder is not None  # a trial that gave a value has trained
    return Path(trial.folder)


def _models(stand: Standing) -> dict[str, dict[int, TrialRecord]]:
    """The trials of both candidates by seed, those whose checkpoint is on this machine."""
    return {
        name: {
            trial.seed: trial
            for point in stand.points
            if stand.choices[point] == name
            for trial in stand.trials_of(point)
            if trial.seed is not None and (_folder(trial) / "best.pt").exists()
        }
        for name in (WINNER, DEFAULTS)
    }


TEST_VERSION = 2
"""Of `test.json`; a higher number makes trainings be tested again."""


def tested(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Scores a training's best checkpoint on the test split (all of `data.test` where that is a source of its own), by beam
    search, and fits the qualities of its basecalls on the validation split: `calibration.json`.

    The result is kept in `test.json`, and read from there while checkpoint, data and code are the same.

    Returns:
        See `calling.evaluating.evaluate_chunks`; also how many `chunks` there are, of how many `reads`, and `identities`: the
        mean identity of each read by its id.
    """
    from basecaller.calling.evaluating import evaluate_chunks
    from basecaller.calling.model import split_of
    from basecaller.calling.quality import calibrate
    from basecaller.training.checkpoint import load_network
    from basecaller.training.device import choose_device
    from basecaller.training.fit import choose

    checked = settings(cfg)
    dataset, split = split_of(checked.data, "test")
    own, _ = split_of(checked.data, "validation")
    key = digest([content_digest(folder / "best.pt"), dataset.fingerprint, own.fingerprint, code_version(), TEST_VERSION])
    found = read_json(folder / "test.json")
    if found and found["key"] == key:
        return dict(found["scores"])
    network = load_network(folder / "best.pt", checked.networks).to(choose_device(checked.device))
    stride, tolerated = network.stride, checked.train.infeasible
    indices = choose(dataset, split, None, stride, tolerated)
    scores, _ = evaluate_chunks(network, dataset, indices, "beam")
    read_ids = dataset.read_ids[indices]
    identities = dict[str, list[float]]()
    for read, identity in zip(read_ids, scores["identities"], strict=True):
        identities.setdefault(read.decode(), []).append(identity)
    scores |= {"reads": len(identities), "identities": {read: float(np.mean(of)) for read, of in identities.items()}}
    validation = choose(own, "validation", checked.train.validation_chunks, stride, tolerated)
    _, tally = evaluate_chunks(network, own, validation, "beam")
    write_json(folder / "calibration.json", calibrate(tally.quality))
    write_json(folder / "test.json", {"key": key, "scores": scores})
    return scores


def gain(ours: Mapping[int, dict[str, Any]], theirs: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """What tuning gained: identity and loss of two settings at the same seeds, on the same test reads.

    The standard error has two parts: between reads (of the mean over seeds), and between seeds (of the mean over reads).

    Args:
        ours, theirs: scores by seed, see `tested`.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return {"seeds": [], "text": "What tuning gained is not known: the untuned defaults gave no model."}
    reads = list(ours[seeds[0]]["identities"])
    of_read = np.array([[ours[s]["identities"][r] - theirs[s]["identities"][r] for r in reads] for s in seeds])
    by_seed = of_read.mean(1)
    between_reads = of_read.mean(0).var(ddof=1) / len(reads) if len(reads) > 1 else math.nan
    between_seeds = by_seed.var(ddof=1) / len(seeds) if len(seeds) > 1 else math.nan
    points, error = 100 * float(by_seed.mean()), 100 * math.sqrt(np.nansum([between_reads, between_seeds]))
    loss = float(np.mean([theirs[s]["loss"] - ours[s]["loss"] for s in seeds]))
    before, after = (float(np.mean([of[s]["identity_mean"] for s in seeds])) for of in (theirs, ours))
    noise = "; ± is one standard error" if len(seeds) > 1 else ", so that ±, one standard error, is of reads alone"
    text = (
        f"Tuning {'gained' if points >= 0 else 'lost'} {abs(points):.1f} ± {error:.1f} points of identity over the untuned "
        f"defaults, trained alike: {before:.1%} to {after:.1%}, loss {abs(loss):.4f} nats per base "
        f"{'lower' if loss >= 0 else 'higher'} ({len(reads):,} reads that no stage has seen, {len(seeds)} new "
        f"seed{'s' if len(seeds) > 1 else ''}{noise})."
    )
    kept = ("loss", "identity_mean", "identity_median")
    return {
        "identity_points": points, "error": error, "loss": loss, "seeds": seeds, "reads": len(reads), "text": text,
        "ours": [{key: ours[s][key] for key in kept} for s in seeds],
        "defaults": [{key: theirs[s][key] for key in kept} for s in seeds],
    }  # fmt: skip
