"""The winner and the untuned defaults on the test split: trained alike, at seeds and on reads that no stage has used."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from basecaller.config import command
from basecaller.files import content_digest, read_json, replacing, write_json
from basecaller.hpo.best import standing
from basecaller.hpo.code_version import code_version
from basecaller.hpo.identity import digest
from basecaller.hpo.storage import open_study
from basecaller.search_plan.finalists import DEFAULTS, WINNER, Candidates
from basecaller.settings import settings

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
    """
    stand = standing(open_study(url, study_name))
    trials = {
        name: [trial for point in stand.points if stand.choices[point] == name for trial in stand.trials_of(point)]
        for name in (WINNER, DEFAULTS)
    }
    tests = {name: [tested(cfg, Path(trial.user_attrs["folder"])) for trial in of] for name, of in trials.items()}
    best = min(trials[WINNER], key=lambda trial: float(trial.value or math.inf))
    source, kept = Path(best.user_attrs["folder"]), Path(cfg.output_dir) / "winner"
    for name in MODEL_FILES:
        if (source / name).exists():
            with replacing(kept / name) as partial:
                shutil.copyfile(source / name, partial)
    overrides = [*candidates.given, *candidates.lines(WINNER), *longer, f"seed={best.user_attrs['seed']}"]
    content: dict[str, Any] = {
        "settings": dict(sorted(candidates.settings[WINNER].items())),
        "val_loss": best.value,
        "test": {key: value for key, value in tests[WINNER][trials[WINNER].index(best)].items() if key != "identities"},
        "gain": gain(tests[WINNER], tests[DEFAULTS], [t.user_attrs["seed"] for t in trials[WINNER]]),
        "facts": {key: best.user_attrs.get(key) for key in ("updates", "samples", "seconds", "parameters", "receptive_field")},
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
    key = digest([content_digest(folder / "best.pt"), dataset.fingerprint, own.fingerprint, code_version()])
    found = read_json(folder / "test.json")
    if found and found["key"] == key:
        return dict(found["scores"])
    network = load_network(folder / "best.pt").to(choose_device(checked.device))
    stride, tolerated = network.settings.stride, checked.train.infeasible
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


def gain(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], seeds: list[int]) -> dict[str, Any]:
    """What tuning gained: identity and loss of two settings at the same seeds, on the same test reads.

    The standard error has two parts: between reads (of the mean over seeds), and between seeds (of the mean over reads).

    Args:
        ours, theirs: scores by seed, see `tested`.
        seeds: of the trainings.
    """
    pairs = list(zip(ours, theirs, strict=True))
    reads = list(ours[0]["identities"])
    of_read = np.array([[a["identities"][r] - b["identities"][r] for r in reads] for a, b in pairs])
    losses = np.array([b["loss"] - a["loss"] for a, b in pairs])
    by_seed = of_read.mean(1)
    between_reads = of_read.mean(0).var(ddof=1) / len(reads) if len(reads) > 1 else math.nan
    between_seeds = by_seed.var(ddof=1) / len(pairs) if len(pairs) > 1 else math.nan
    error = math.sqrt(np.nansum([between_reads, between_seeds]))
    points, difference = 100 * float(by_seed.mean()), float(losses.mean())
    how = f"{len(reads):,} reads that no stage has seen, {len(pairs)} new seed{'s' if len(pairs) > 1 else ''}"
    word = "gained" if points >= 0 else "lost"
    text = (
        f"Tuning {word} {abs(points):.1f} ± {100 * error:.1f} points of identity over the untuned defaults, trained alike "
        f"({np.mean([b['identity_mean'] for b in theirs]):.1%} to {np.mean([a['identity_mean'] for a in ours]):.1%}; loss "
        f"{difference:.4f} nats per base lower; {how})."
    )
    return {
        "identity_points": points, "error": 100 * error, "loss": difference, "seeds": seeds, "reads": len(reads),
        "ours": [{k: v for k, v in a.items() if k in ("loss", "identity_mean", "identity_median")} for a in ours],
        "defaults": [{k: v for k, v in b.items() if k in ("loss", "identity_mean", "identity_median")} for b in theirs],
        "text": text,
    }  # fmt: skip
