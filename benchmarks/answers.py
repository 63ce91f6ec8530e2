"""`python -m benchmarks.answers`: are the settings that the search chooses the best ones to train with?

Compares five ways to choose settings: (a) the search, (b) the untuned defaults, (c) settings that an experienced user would
type, (d) random search and (e) Optuna's TPE with a median pruner. The searches (a), (d) and (e) have the same cost and the same
space. Each choice is trained with the same budget at new seeds, and tested on unseen reads. Differences are paired by seed and
read.

    python -m benchmarks.answers --json answers.json
    python -m benchmarks.answers --json real.json data=pod5 data.pod5=reads.pod5 data.bam=calls.bam

`--equal-time` also trains each choice for as long as the search's answer took. `--network OVERRIDES` compares the answer with
another network that trains for the same time. `--transfer` measures how well trials predict the ranking of longer trainings:
the ten best settings at eight times a trial's budget. `--permuted N` measures whether the order of the stages matters: N
searches with the plan in another order.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from basecaller.common.files import read_json
from basecaller.common.workers import divide
from basecaller.config.composition import compose_config
from basecaller.config.settings import settings
from basecaller.data.sources import prepare
from basecaller.hpo.grid import parse_overrides
from basecaller.hpo.records import TrialRecord, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, open_study
from basecaller.runs.summary import summary_of
from basecaller.search_plan.budget import longer
from basecaller.search_plan.candidates import DEFAULTS, SCHEDULE, WINNER, Candidates
from basecaller.search_plan.held_out import largest_stride, tested
from basecaller.search_plan.incumbent import settings_of
from basecaller.search_plan.stages import composed_settings, flat_overrides, run_sweep
from basecaller.search_plan.winner import gain
from basecaller.training.scores import HeldOutReads

HAND = {"padding": "off", "optimizer": "adam", "optimizer.lr": 0.002, "data.batch_size": 4, "model.batch_norm": True}
"""Settings that an experienced user would type without any search."""

SPACE = [
    "padding=off,on", "model.batch_norm=false,true", "optimizer=adam,adamax,adagrad",
    "optimizer.lr=tag(log,interval(1e-4,2e-2))", "data.batch_size=1,4,8,16,32", "model.max_dilation=16,32,64,128",
    "model.stacks=3,6,9",
]  # fmt: skip
"""The space of the search, for samplers."""

SPACE_OF = {"stride": "model.stride=2,3,4,5"}
"""What stages outside of the default plan add to it."""

SAMPLERS = {"random": [], "tpe": ["search.pruner=MedianPruner"]}
"""Samplers and their other overrides."""

FIRST_SEED = 1001
"""First seed of the trainings that are compared: the headline's. No choice is made at these seeds."""


def command(*arguments: str) -> None:
    """Runs a command of this program; shows its output if it fails."""
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def spent(report: dict[str, Any]) -> float:
    """Worker seconds of the trainings of a search, each counted once, without the headline."""
    trials = [trial for stage in report["stages"] if stage["name"] != "headline" for trial in stage["trials"]]
    return sum({trial["folder"]: trial.get("seconds") or 0.0 for trial in trials}.values())


def searched(experiment: str, given: list[str], *own: str) -> tuple[dict[str, Any], float, dict[str, Any]]:
    """The winning settings of a search, its cost in worker seconds, and its report."""
    command("basecaller.search", f"experiment={experiment}", *given, *own)
    report = read_json(Path("outputs") / experiment / "report.json")
    assert report is not None
    return report["winner"]["settings"], spent(report), report


def sampled(sampler: str, given: list[str], cost: float, keys: list[str], *own: str) -> tuple[dict[str, Any], float, int]:
    """The best settings that a sampler finds within a cost in worker seconds, its actual cost, and the number of trials."""
    count, seconds = 0, 0.0
    workers, plan = divide(None).overrides, compose_config(given).plan
    space = [*SPACE, *(axis for stage, axis in SPACE_OF.items() if stage in plan)]
    while seconds < cost:
        count += 20
        chosen = [f"experiment=by_{sampler}", f"hydra/sweeper/sampler={sampler}", f"hydra.sweeper.n_trials={count}"]
        command("basecaller.train", "-m", *chosen, *space, *workers, *given, *own)
        study = current_study(str(compose_config(given).storage), f"by_{sampler}", "sweep")
        assert study is not None
        trials = trials_of(study)
        seconds = sum(
            trial.duration.total_seconds() for trial in study.trials if trial.duration
        )  # pruned trials cost time, too
    best = min((trial for trial in trials if trial.is_complete), key=TrialRecord.measured)
    return settings_of(best, [key for key in keys if key != SCHEDULE]) | {SCHEDULE: None}, seconds, len(trials)


def compared(name: str, found: dict[str, dict[str, Any]], given: list[str], budget: list[str], seeds: int) -> Any:
    """Trains whole configurations with the same budget; returns the standing of their study."""
    candidates = Candidates(found, tuple(given))
    lines = [
        f"experiment={name}",
        "stage=headline",
        *given,
        *candidates.sweep(),
        *budget,
        f"seed={FIRST_SEED}",
        f"stage.replicates={seeds}",
    ]
    study = run_sweep([*divide(None).overrides, *(str(o.input_line) for o in parse_overrides(lines).values())])
    return standing(open_study(str(compose_config(given).storage), study))


@dataclass(frozen=True)
class Trained:
    """Trainings of one choice.

    Attributes:
        seconds: mean time of a training.
        scores: on the test split, by seed.
    """

    seconds: float
    scores: dict[int, HeldOutReads]

    def against(self, other: Trained) -> dict[str, float]:
        """The mean loss (nats per base), identity and time (seconds), and how far `other` is ahead."""
        ahead = gain(other.scores, self.scores, Candidates({WINNER: {}, DEFAULTS: {}}, ()))
        return {
            "seconds": self.seconds,
            "loss": float(np.mean([score.loss for score in self.scores.values()])),
            "identity": float(np.mean([score.identity_mean for score in self.scores.values()])),
            "behind": ahead.identity_points,
            "error": ahead.error,
            "loss_behind": ahead.loss,
        }


def trained(
    experiment: str, found: dict[str, dict[str, Any]], given: list[str], budget: list[str], seeds: int
) -> dict[str, Trained]:
    """Trains each choice at new seeds, and tests it on unseen reads."""
    cfg, stand = compose_config(given), compared(experiment, found, given, budget, seeds)
    tests = dict[str, Trained]()
    folders = [Path(str(trial.folder)) for point in stand.points for trial in stand.trials_of(point)]
    stride = largest_stride(folders, cfg.networks)
    for point in stand.points:
        trials = stand.trials_of(point)
        seconds = float(np.mean([summary_of(trial).seconds or np.nan for trial in trials]))
        scores = {trial.seed: tested(settings(cfg), Path(trial.folder), stride) for trial in trials}  # halving: one or more
        name = str(stand.choices[point]) if len(found) > 1 else next(iter(found))  # one point is not a sweep
        tests[name] = Trained(seconds, scores)
    return tests


def kendall(first: list[float], second: list[float]) -> float:
    """Kendall's rank correlation (Biometrika, 1938): 1 for the same order, -1 for the reverse."""
    x, y = np.array(first), np.array(second)
    signs = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    n = len(x)
    return float(signs.sum() / (n * (n - 1)))


def answers(given: list[str], seeds: int, samplers: list[str]) -> dict[str, Any]:
    """The rows of the table: the result of each way of choosing, trained with the same budget."""
    ours, cost, report = searched("answers", given)
    keys = list(ours)
    defaults = composed_settings(given, keys)
    found = {
        "search": ours,
        "defaults": defaults,
        "hand": defaults | {key: value for key, value in HAND.items() if key in keys},
    }
    costs, trials = {"search": cost, "defaults": 0.0, "hand": 0.0}, {}
    for sampler in samplers:
        found[sampler], costs[sampler], trials[sampler] = sampled(sampler, given, cost, keys, *SAMPLERS[sampler])
    tests = trained("answers", found, given, flat_overrides(compose_config(given).search.winner), seeds)
    rows = [
        {"name": name, "settings": found[name], "cost": costs[name], **of.against(tests["search"])}
        for name, of in tests.items()
    ]
    return {"rows": rows, "seconds": report["seconds"], "trials": trials, "seeds": seeds}


def equal_time(given: list[str], found: dict[str, Any]) -> list[dict[str, Any]]:
    """The same choices again, each with as many epochs as fit into the training time of the search's answer."""
    winner = compose_config(given).search.winner
    time = found["rows"][0]["seconds"]
    epochs = {row["name"]: max(1, round(winner.train.epochs * time / row["seconds"])) for row in found["rows"]}
    chosen = {row["name"]: row["settings"] | {"train.epochs": epochs[row["name"]]} for row in found["rows"]}
    budget = [line for line in flat_overrides(winner) if not line.startswith("train.epochs=")]
    tests = trained("equal_time", chosen, given, budget, found["seeds"])
    return [{"name": f"{name}, {epochs[name]} epochs", **tests[name].against(tests["search"])} for name in chosen]


def other_network(given: list[str], network: list[str], found: dict[str, Any]) -> list[dict[str, Any]]:
    """The search's answer, and another network with its own recipe that trains for about the same time."""
    answer, seeds = found["rows"][0], found["seeds"]
    ours = trained("answers", {"search": answer["settings"]}, given, flat_overrides(compose_config(given).search.winner), seeds)
    own = ["train.budget=epochs", "train.chunks=null", "train.validations=1"]
    once = trained("network", {"other": {}}, [*given, *network], [*own, "train.epochs=1"], 1)
    own.append(f"train.epochs={max(1, round(answer['seconds'] / once['other'].seconds))}")
    tests = ours | trained("network", {"other": {}}, [*given, *network], own, seeds)
    names = {"search": "search", "other": " ".join([*network, own[-1]])}
    return [{"name": names[name], **of.against(tests["search"])} for name, of in tests.items()]


def shown(found: list[dict[str, Any]]) -> Table:
    """The rows as a table."""
    table = Table("", "loss", "identity", "behind (a), points", "training, s", box=box.SIMPLE_HEAD)
    for letter, row in zip("abcde", found, strict=False):
        behind = "" if letter == "a" else f"{row['behind']:.2f} ± {row['error']:.2f}"
        table.add_row(
            f"({letter}) {row['name']}", f"{row['loss']:.4f}", f"{row['identity']:.1%}", behind, f"{row['seconds']:.0f}"
        )
    return table


def transfer(given: list[str]) -> dict[str, float]:
    """How well trials predict the ranking of the ten best settings of the last round at eight times a trial's budget, and how
    much worse than the best of them the winner is there (its regret)."""
    report = read_json(Path("outputs/answers/report.json"))
    winner = report["winner"]["settings"]
    cfg = compose_config(given)
    url, found = str(cfg.storage), dict[str, tuple[float, dict[str, Any]]]()
    for stage in report["stages"]:
        if "." not in stage["name"]:
            continue
        stand = standing(open_study(url, stage["study"]))
        for point in stage["points"]:
            if point["seeds"] > 1:
                chosen = settings_of(stand.trials_of(point["point"])[0], [key for key in winner if key != SCHEDULE]) | {
                    SCHEDULE: None
                }
                text = json.dumps(chosen, sort_keys=True)
                found[text] = min(found.get(text, (np.inf, chosen)), (point["mean"], chosen), key=lambda pair: pair[0])
    best = sorted(found.values(), key=lambda pair: pair[0])[:10]
    named = {f"s{i}": chosen for i, (_, chosen) in enumerate(best)} | {"winner": winner}
    data = settings(cfg).data
    budget = longer(cfg, prepare(data.name, data.source, Path(data.folder)), 8)
    stand = compared("transfer", named, given, [*budget, "train.schedule=cosine", "train.warmup=0.05"], 2)
    long = {stand.choices[p]: float(np.mean([t.value for t in stand.trials_of(p)])) for p in stand.points}
    tau = kendall([value for value, _ in best], [long[f"s{i}"] for i in range(len(best))])
    return {"tau": tau, "regret": long["winner"] - min(long.values()), "settings": len(best)}


def permuted(given: list[str], count: int) -> dict[str, Any]:
    """Searches with the plan in another order: their answers, and the share that agrees with the original order."""
    plan = [str(name) for name in compose_config(given).plan]
    own = read_json(Path("outputs/answers/report.json"))["winner"]["settings"]
    rng, found = np.random.default_rng(1), []
    rates = [name for name in plan if name.startswith("lr_")]
    for number in range(count):
        blocks = [[name] for name in plan if name not in rates] + [rates]
        order = [name for block in rng.permutation(np.array(blocks, object)) for name in block]
        studies = f"permuted_{number}"
        chosen, _, _ = searched(studies, given, f"plan=[{','.join(order)}]", "search.headline_seeds=1")
        found.append(chosen)
    scientific = [key for key in own if key != "optimizer.lr"]
    same = [all(each[key] == own[key] for key in scientific) for each in found]
    return {"answers": found, "same": float(np.mean(same))}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.answers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for basecaller.search: another source of reads")
    parser.add_argument("--folder", type=Path, default=Path("outputs/benchmarks"), help="to work in; a restart continues there")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--seeds", type=int, default=3, help="of the trainings that are compared")
    parser.add_argument(
        "--samplers", nargs="*", choices=SAMPLERS, default=list(SAMPLERS), help="each costs as much as the search"
    )
    parser.add_argument("--equal-time", action="store_true", help="train the choices again, each for the same time")
    parser.add_argument("--network", help="another one and its recipe, such as 'model=bonito_ctc_small recipe=bonito'")
    parser.add_argument("--transfer", action="store_true")
    parser.add_argument("--permuted", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    target = chosen.json.resolve() if chosen.json else None
    chosen.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(chosen.folder)
    found = answers(chosen.overrides, chosen.seeds, chosen.samplers)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(shown(found["rows"]))
    if chosen.equal_time:
        found["equal_time"] = equal_time(chosen.overrides, found)
        console.print(shown(found["equal_time"]))
    if chosen.network:
        found["network"] = other_network(chosen.overrides, chosen.network.split(), found)
        console.print(shown(found["network"]))
    if chosen.transfer:
        found["transfer"] = transfer(chosen.overrides)
        print(f"ten best at 8 times a trial: tau {found['transfer']['tau']:.2f}, regret {found['transfer']['regret']:.4f}")
    if chosen.permuted:
        found["permuted"] = permuted(chosen.overrides, chosen.permuted)
        print(f"permuted plans that end at the same answer: {found['permuted']['same']:.0%}")
    if target:
        target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
