"""The winner and the untuned defaults on the test split: trained alike, at seeds and on chunks that no stage has used."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from basecaller.common.errors import StageError
from basecaller.common.facts import to_json
from basecaller.common.files import replacing, write_json
from basecaller.common.workers import Workers
from basecaller.config.composition import command
from basecaller.config.settings import settings
from basecaller.hpo.grid import parse_overrides
from basecaller.hpo.records import TrialRecord
from basecaller.hpo.standing import Standing, standing
from basecaller.hpo.storage import open_study
from basecaller.reporting.contents import Gain, SeedScores, WinnerFacts, WinnerTraining
from basecaller.runs.summary import summary_of
from basecaller.search_plan.candidates import DEFAULTS, WINNER, Candidates
from basecaller.search_plan.pool import spread
from basecaller.training.scores import HeldOutReads, HeldOutScores

MODEL_FILES = ("best.pt", "config.yaml", "metrics.csv", "result.json", "calibration.json")
"""The files of a training's folder that make it a model for basecalling."""

TRAINING = ("model", "optimizer", "padding", "data.batch_size", "train.")
"""Prefixes of overrides that set the network and its training, but not its data."""


def write_winner(
    cfg: DictConfig, url: str, study_name: str, candidates: Candidates, longer: list[str], workers: Workers
) -> WinnerFacts:
    """Tests the trainings of the headline, keeps the winner's best one in `winner/`, and writes `winner/winner.json`.

    If none of the winner's trainings gave a value, because all of them diverged, the untuned defaults take its place.

    Args:
        cfg: the search's config.
        url, study_name: storage URL and name of the headline's study.
        candidates: the winner and the untuned defaults.
        longer: the overrides that make their trainings longer than a trial.
        workers: the processes that test them.
    Raises:
        StageError: none of these trainings has a model on this machine.
    """
    from basecaller.search_plan.held_out import new_reads  # here: imports PyTorch, see `costs.py`

    stand = standing(open_study(url, study_name))
    trials = _models(stand)
    fallback = not any(stand.trials_of(point) for point in stand.points if stand.choices[point] == WINNER)
    name = DEFAULTS if fallback else WINNER
    if not trials[name]:
        raise StageError(f"{study_name}: no training of the {name} left a model on this machine; see its trials")
    scores = _scores(cfg, trials, workers)
    seed, best = min(trials[name].items(), key=lambda pair: float(pair[1].value or math.inf))
    source, kept = _folder(best), Path(cfg.output_dir) / "winner"
    for file in MODEL_FILES:
        if (source / file).exists():
            with replacing(kept / file) as partial:
                shutil.copyfile(source / file, partial)
    overrides = parse_overrides([*candidates.given, *candidates.lines(name), *longer, f"seed={seed}"])
    test, training = scores[name][seed], summary_of(best)
    fixed = {line.partition("=")[0] for line in longer}
    facts = WinnerFacts(
        settings=dict(sorted(candidates.settings[name].items())),
        val_loss=best.value,
        test=HeldOutScores(**{field.name: getattr(test, field.name) for field in fields(HeldOutScores)}),
        gain=gain(scores[WINNER], scores[DEFAULTS], candidates, longer, new_reads(cfg)),
        facts=WinnerTraining(**{field.name: getattr(training, field.name) for field in fields(WinnerTraining)}),
        command=command("train", [str(override.input_line) for override in overrides.values()]),
        folder=str(kept),
        study=study_name,
        trial=best.number,
        fixed=[key for key in candidates.settings[name] if key in fixed],
        fallback=fallback,
    )
    write_json(kept / "winner.json", to_json(facts))
    return facts


def _scores(
    cfg: DictConfig, trials: Mapping[str, Mapping[int, TrialRecord]], workers: Workers
) -> dict[str, dict[int, HeldOutReads]]:
    """The scores of trainings on the test split, by candidate and seed. Each folder is tested once: a winner with the untuned
    settings shares theirs."""
    from basecaller.search_plan.held_out import largest_stride, tested  # here: as above

    folders = list(dict.fromkeys(_folder(trial) for by_seed in trials.values() for trial in by_seed.values()))
    stride = largest_stride(folders, cfg.networks)
    tests = [(settings(cfg), folder, stride) for folder in folders]
    try:
        found = spread(workers, tested, tests)
    except BrokenExecutor:  # a worker was killed, most likely for lack of memory
        found = [tested(*test) for test in tests]
    scores: dict[Path, HeldOutReads] = dict(zip(folders, found, strict=True))
    return {name: {seed: scores[_folder(trial)] for seed, trial in by_seed.items()} for name, by_seed in trials.items()}


def _folder(trial: TrialRecord) -> Path:
    assert trial.folder is not None  # a trial that gave a value has trained
    return Path(trial.folder)


def _models(stand: Standing) -> dict[str, dict[int, TrialRecord]]:
    """The trials of both candidates by seed, if their checkpoint is on this machine."""
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


def defaults_in_words(given: Sequence[str], recipe: Sequence[str] = ()) -> str:
    """The untuned defaults in words, with the user's training settings, which the winner shares.

    Args:
        given: the user's overrides.
        recipe: overrides of the long trainings, which replace those of the user.
    """
    replaced = {line.split("=")[0] for line in recipe}
    own = [line for line in given if line.startswith(TRAINING) and line.split("=")[0] not in replaced]
    if not own:
        return "the untuned defaults"
    return f"the untuned defaults with your {', '.join(own)}" if len(own) < 4 else "the untuned defaults with what you set"


def gain(
    ours: Mapping[int, HeldOutReads],
    theirs: Mapping[int, HeldOutReads],
    candidates: Candidates,
    recipe: Sequence[str] = (),
    new_reads: bool = True,
) -> Gain:
    """The gain of tuning: identity and loss of two settings at the same seeds, on the same chunks.

    Identity is the mean over chunks. Its standard error has two parts: between reads (of the mean over seeds), whose chunks are
    not independent, and between seeds (of the mean over chunks).

    Args:
        ours, theirs: scores by seed on the same chunks, see `held_out.tested`.
        candidates: the trained settings: the winner's and the untuned defaults.
        recipe: overrides of these trainings, which replace those of the user.
        new_reads: whether no stage has seen other chunks of these reads.
    """
    defaults = defaults_in_words(candidates.given, recipe)
    seeds = sorted(ours.keys() & theirs.keys())
    if not ours:
        return Gain([], f"Tuning gained nothing: no training of the winner gave a value, so {defaults} are kept.")
    if not seeds:
        return Gain([], f"What tuning gained is not known: {defaults} gave no model.")
    reads = list(ours[seeds[0]].identities)
    of_read = np.array([[ours[s].identities[r] - theirs[s].identities[r] for r in reads] for s in seeds])
    chunks = np.array([ours[seeds[0]].chunks_of[r] for r in reads])
    share = chunks / chunks.sum()
    by_seed = of_read @ share
    apart = share * (of_read.mean(0) - by_seed.mean())
    variance: dict[str, float] = {}
    if len(reads) > 1:
        variance["reads"] = float((apart**2).sum()) * len(reads) / (len(reads) - 1)
    if len(seeds) > 1:
        variance["seeds"] = float(by_seed.var(ddof=1)) / len(seeds)
    points, error = 100 * float(by_seed.mean()), 100 * math.sqrt(sum(variance.values())) if variance else None
    loss = float(np.mean([theirs[s].loss - ours[s].loss for s in seeds]))
    before, after = (float(np.mean([scored[s].identity_mean for s in seeds])) for scored in (theirs, ours))
    counted = f"{len(reads):,} read{'s' if len(reads) > 1 else ''}"
    tested = (
        f"{counted} that no stage has seen" if new_reads else f"{chunks.sum():,} chunks that no stage has seen, of {counted}"
    )
    only = f", between {next(iter(variance))} only" if len(variance) == 1 else ""
    noise = f"; ± is one standard error{only}" if variance else ", which do not show the noise"
    by = f"{abs(points):.1f}" + ("" if error is None else f" ± {error:.1f}")
    text = (
        f"Tuning changed nothing: {defaults} are the best settings found, with an identity of {after:.1%}."
        if candidates.settings[WINNER] == candidates.settings[DEFAULTS]
        else f"Tuning {'gained' if points >= 0 else 'lost'} {by} points of identity against "
        f"{defaults}, trained alike: {before:.1%} to {after:.1%}, loss {abs(loss):.4f} nats per base "
        f"{'lower' if loss >= 0 else 'higher'} ({tested}, {len(seeds)} new "
        f"seed{'s' if len(seeds) > 1 else ''}{noise})."
    )
    each = [
        [SeedScores(scored[s].loss, scored[s].identity_mean, scored[s].identity_median) for s in seeds]
        for scored in (ours, theirs)
    ]
    return Gain(seeds, text, points, error, loss, len(reads), *each)
