"""The steps of a whole search: a stage as a Hydra multirun, the untuned defaults, the winner, and the report after each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from basecaller.config import command, compose_config
from basecaller.data.batches import check_padding
from basecaller.data.sources import prepare
from basecaller.errors import SettingError
from basecaller.files import read_json, write_json
from basecaller.geometry import dilations
from basecaller.hpo.best import setting_of, standing, winner_of
from basecaller.hpo.designs import most_runs, planned
from basecaller.hpo.grid import as_text, parse_overrides, read_space, replicate_seeds
from basecaller.hpo.storage import current_study
from basecaller.places import conf_dir
from basecaller.report import write_report
from basecaller.reporting.facts import BASELINE, stage_facts
from basecaller.reporting.terminal import print_report, print_stage
from basecaller.run import Result, check, data_findings, job, train
from basecaller.settings import settings
from basecaller.workers import divide

if TYPE_CHECKING:
    import optuna
    from hydra._internal.hydra import Hydra

SHOWN = ("model.", "optimizer", "padding", "data.batch_size")
"""Settings that a winner is described by; other overrides of its trial are only passed on."""


@contextmanager
def hydra_app() -> Iterator[Hydra]:
    """Hydra as `hydra.main` sets it up, for multiruns inside this process: workers stay warm between stages."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir(), job_name="train"):
        app = GlobalHydra.instance().hydra
        assert app is not None
        yield app


class Search:
    """A search of an experiment.

    Args:
        cfg: composed from the overrides.
        overrides: the user's, passed on to every stage.
        console: where tables are printed.
    Raises:
        SettingError: the plan names a stage that is not there.
    """

    def __init__(self, cfg: DictConfig, overrides: list[str], console: Console) -> None:
        self.cfg, self.console = cfg, console
        own = ("plan=", "search.workers=", "search.preview=", "search.winner")
        self.overrides = [line for line in overrides if not line.startswith(own)]
        self.asked, self.started = overrides, time.monotonic()
        self.url, self.experiment = str(cfg.storage), str(cfg.experiment)
        self.folder = Path(cfg.output_dir)
        self.seconds_before = float((read_json(self.folder / "search.json") or {}).get("seconds", 0))
        self.plan = [str(name) for name in cfg.plan]
        self.workers = divide(settings_workers(cfg), str(cfg.device))
        with hydra_app() as app:
            known = app.config_loader.get_group_options("stage")
        unknown = [name for name in self.plan if name not in known]
        if unknown or not self.plan:
            raise SettingError(f"plan={self.plan}: {unknown or 'nothing to run'}; stages are {', '.join(known)}")

    # -- stages

    def run(self) -> None:
        """Runs what the search still misses, the report written after every step.

        Raises:
            BasecallerError: a setting or the data cannot be; nothing was stored.
        """
        replicate_seeds(self.cfg.search.replicates, self.cfg.seed)
        check(self.cfg)
        self._report()
        for name in self.plan:
            self.run_stage(name)
        self.run_stage(BASELINE)
        self.train_winner()
        self.console.rule("report")
        print_report(self._report(), self.console)
        self.console.print(f"report: {self.folder / 'report.html'}")

    @cached_property
    def findings(self) -> list[str]:
        """See `run.data_findings`."""
        return data_findings(self.cfg)

    def _report(self) -> dict[str, Any]:
        seconds = self.seconds_before + time.monotonic() - self.started
        content = {
            "command": command("search", self.asked),
            "plan": self.plan,
            "data": self.findings,
            "seconds": round(seconds, 1),
        }
        write_json(self.folder / "search.json", content)
        return write_report(self.url, self.experiment, self.folder, self.plan)

    def run_stage(self, name: str) -> dict[str, Any]:
        """Runs what a stage still misses, prints it, and returns its facts."""
        asked = [f"stage={name}", *self.overrides]
        if name == BASELINE:
            asked = [f"stage={name}", *unswept(self.overrides)]
        self.console.rule(name)
        self.console.print(compose_config([f"stage={name}"]).stage.question, style="italic")
        kept, skipped = self._nothing_to_ask(name)
        if kept:
            self.console.print(f"skipped: {skipped}", style="bold")
            asked.append(f"padding={kept}")
        self.console.print(command("train", asked, multirun=True), style="dim", soft_wrap=True)
        with hydra_app() as app:
            app.multirun("config", job, [*self.workers.overrides, *asked])
        study = current_study(self.url, self.experiment, name)
        assert study is not None
        study.set_user_attr("skipped", skipped)
        self._report()
        facts = stage_facts(name, study, standing(study))
        print_stage(facts, self.console)
        return facts

    def _nothing_to_ask(self, name: str) -> tuple[str, str]:
        """The padding that is kept where this data gives the padding stage no answer, and why; empty where it gives one."""
        if list(self._planned(name)[0][0]) != ["padding"]:
            return "", ""
        checked = settings(self.cfg)
        dataset = prepare(checked.data.name, checked.data.source, Path(checked.data.folder))
        lengths = np.unique(dataset.lengths[dataset.indices("train")])
        if len(lengths) == 1:
            return "off", f"every chunk has {lengths[0]} samples, so there is nothing to pad; padding=off is kept"
        try:
            check_padding(dataset, "off", checked.data.batch_size)
        except SettingError:
            return "masked", "where bases start is not known, so chunks cannot be cropped; padding=masked is kept"
        return "", ""

    def preview(self) -> None:
        """Lists every trial of the plan with its settings and an estimate of its time; nothing runs."""
        total, seconds = 0, 0.0
        for name in self.plan:
            points, fixed = self._planned(name)
            table = Table("trial", "settings", "about", title=name, title_justify="left")
            costs: list[float] = []
            for number, point in enumerate(points):
                cost = self._estimate({**fixed, **point})
                table.add_row(str(number), "  ".join(f"{k}={v}" for k, v in point.items()), f"{cost:.0f} s")
                costs.append(cost)
            stage = compose_config([f"stage={name}", *unswept(self.overrides)]).stage
            if stage.extend:
                table.caption = f"and up to {stage.extend} more beyond the edge of the grid, if the winner lies there"
            self.console.print(table)
            self.console.print("  ".join(f"{k}={v}" for k, v in fixed.items()), style="dim")
            axes = {key: list(dict.fromkeys(point[key] for point in points)) for key in points[0]}
            design, choices, seeds = planned(str(stage.design), axes, stage.choice, int(stage.replicates))
            runs = most_runs(design, choices, seeds)
            if seeds > 1:
                self.console.print(f"{len(points)} points, {runs} trials at most over {seeds} seeds", style="dim")
            total += runs
            seconds += runs * float(np.mean(costs))
        wall = seconds / self.workers.count
        each = f"{self.workers.count} at once, {self.workers.threads} thread(s) each"
        self.console.print(f"{total} trials, {each}: about {wall / 60:.0f} minutes, and the winner's training after them")

    def _planned(self, name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """A stage's points and fixed settings as far as they are known now; what a stage will decide is named so."""
        with hydra_app() as app:
            config = app.config_loader.load_configuration("config", [f"stage={name}"], RunMode.MULTIRUN)
            params = OmegaConf.to_container(config.hydra.sweeper.params, resolve=False)
            assert isinstance(params, dict)
            lines = {str(k): str(v) for k, v in params.items()}
            later = {k: _describe(v) for k, v in lines.items() if "${" in v}
            known = parse_overrides(f"{k}={v}" for k, v in lines.items() if k not in later)
            asked = parse_overrides(self.overrides)
            space = read_space(known | asked, app.config_loader.get_group_options, sampled=False)
        fixed = {k: line.partition("=")[2] for k, line in space.fixed.items()}
        fixed |= {k: v for k, v in later.items() if k not in asked}
        return [point.values for point in space.points()], fixed

    def _estimate(self, chosen: dict[str, Any]) -> float:
        """Seconds of one trial on one worker."""
        cfg, train = self.cfg, self.cfg.train

        def number(key: str) -> float:
            value = str(chosen.get(key, "<default>"))
            return float(OmegaConf.select(cfg, key) if value.startswith("<") else value)

        blocks = len(dilations(int(number("model.max_dilation")), int(number("model.stacks"))))
        chunk = cfg.data.chunk_samples if "chunk_samples" in cfg.data else 5 * (cfg.data.min_bases + cfg.data.max_bases)
        chunks = train.epochs * (train.chunks or cfg.data.get("reads", 5000))
        validation = train.epochs * train.validations * (train.validation_chunks or 500) / 3  # no backward pass
        overhead = 1 + 2 / number("data.batch_size")  # small batches keep a core less busy
        width = (cfg.model.channels / 32) ** 1.5 * 4 / cfg.model.stride
        return float((chunks * overhead + validation) * chunk * blocks * width / SAMPLE_BLOCKS_PER_SECOND)

    # -- the winner

    def train_winner(self) -> dict[str, Any]:
        """Trains the plan's winner longer, tests it on chunks that no stage has seen, and keeps what it found."""
        won = winner_of(self.url, self.experiment, self._last_contest())
        chosen = winning_overrides(won.trial)
        longer = parse_overrides(chosen) | parse_overrides(flat_overrides(self.cfg.search.winner))
        overrides = [str(o.input_line) for o in longer.values()]
        folder = self.folder / "winner"
        self.console.rule("winner")
        self.console.print(command("train", overrides), style="dim", soft_wrap=True)
        cfg = compose_config([*overrides, f"threads={divide(1).threads}"])
        (folder / "winner.json").unlink(missing_ok=True)  # the last one's, until this one is tested
        result = self._train(cfg, folder)
        self.console.print(f"validation: {result}")
        test = test_metrics(cfg, folder / "best.pt")
        self.console.print(
            f"test, {test['chunks']:,} chunks that no stage has seen, of {test['reads']:,} reads: "
            f"loss {test['loss']:.4f} nats/base, identity mean "
            f"{test['identity_mean']:.1%}, median {test['identity_median']:.1%} (greedy {test['greedy_identity_mean']:.1%}, "
            f"unrelated sequences {test['identity_floor']:.1%}), mismatches {test['mismatch_rate']:.1%}, insertions "
            f"{test['insertion_rate']:.1%}, deletions {test['deletion_rate']:.1%}"
        )
        winner = {
            "settings": shown_settings(won.trial, chosen),
            "val_loss": result.metrics["val_loss"],
            "test": test,
            "validation": result.metrics,
            "facts": result.facts,
            "command": command("train", overrides),
            "folder": str(folder),
            "study": won.study.study_name,
            "trial": won.trial.number,
        }
        write_json(folder / "winner.json", winner)
        return winner

    def _last_contest(self) -> list[str]:
        """The plan's last stage, with those before it that sweep the same keys and so compete with it."""
        keys = [set(self._planned(name)[0][0]) for name in self.plan]
        last = len(self.plan) - 1
        while last and keys[last - 1] == keys[-1]:
            last -= 1
        return self.plan[last:]

    def _train(self, cfg: DictConfig, folder: Path) -> Result:
        import torch

        torch.set_num_threads(divide(1).threads)
        return train(cfg, folder)


SAMPLE_BLOCKS_PER_SECOND = 2.6e6
"""Signal samples times residual blocks that one core trains in a second, at 32 channels and stride 4."""


def settings_workers(cfg: DictConfig) -> int | None:
    """`search.workers`, checked.

    Raises:
        SettingError: it is no positive number.
    """
    count = cfg.search.workers
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise SettingError(f"search.workers={count}: must be at least 1, or null")
    return count


def _describe(value: str) -> str:
    """An injected setting that is not decided yet, for a reader."""
    source = value.partition("${best:")[2].partition(",")[0]
    return f"<{'scaled ' if 'rate' in value else ''}best of {source}>"


def unswept(overrides: list[str]) -> list[str]:
    """The overrides that sweep nothing: what all stages have in common."""
    return [str(o.input_line) for o in parse_overrides(overrides).values() if not o.is_sweep_override()]


def flat_overrides(node: DictConfig, prefix: str = "") -> list[str]:
    """The leaves of a config as overrides."""
    lines = []
    for key, value in node.items():
        path = f"{prefix}{key!s}"
        lines += flat_overrides(value, f"{path}.") if isinstance(value, DictConfig) else [f"{path}={as_text(value)}"]
    return lines


def winning_overrides(trial: optuna.trial.FrozenTrial) -> list[str]:
    """The overrides of a trial with computed values in place of interpolations: they reproduce it anywhere."""
    lines = []
    for key, override in parse_overrides(trial.user_attrs["overrides"]).items():
        line = str(override.input_line)
        if key.startswith("stage."):
            continue
        lines.append(f"{key}={setting_of(trial, key)}" if "${" in line else line)
    return lines


def shown_settings(trial: optuna.trial.FrozenTrial, overrides: list[str]) -> dict[str, Any]:
    """What the stages decided: the winner's settings by key."""
    keys = [key for key in parse_overrides(overrides) if key.startswith(SHOWN)]
    return {key: setting_of(trial, key) for key in sorted(keys)}


def test_metrics(cfg: DictConfig, checkpoint: Path) -> dict[str, float]:
    """Scores a checkpoint on the test split of a config's data set, or on all of `data.test` where that is a source of its own;
    decoded by beam search. The qualities of basecalls are fitted on the validation split: `calibration.json` beside it.

    Returns:
        See `training.evaluate.evaluate`; also how many `chunks` there are, and of how many `reads`.
    """
    from basecaller.calling.evaluating import evaluate_chunks
    from basecaller.calling.model import split_of
    from basecaller.calling.quality import calibrate
    from basecaller.training.checkpoint import load_network
    from basecaller.training.device import choose_device
    from basecaller.training.evaluate import evaluate
    from basecaller.training.fit import choose

    checked = settings(cfg)
    dataset, split = split_of(checked.data, "test")
    network = load_network(checkpoint).to(choose_device(checked.device))
    indices = choose(dataset, split, None, checked.model.stride, checked.train.infeasible)
    scored = evaluate(network, dataset, indices, decoder="beam")
    scored |= {"chunks": len(indices), "reads": len(np.unique(dataset.read_ids[indices]))}
    own, _ = split_of(checked.data, "validation")
    validation = choose(own, "validation", checked.train.validation_chunks, checked.model.stride, checked.train.infeasible)
    _, tally = evaluate_chunks(network, own, validation, "beam")
    write_json(checkpoint.with_name("calibration.json"), calibrate(tally.quality))
    return scored
