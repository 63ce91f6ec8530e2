"""The steps of a whole search: a stage as a Hydra multirun, its table, the winner, and `report.json`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from basecaller.config import compose_config, conf_dir
from basecaller.data.sources import prepare
from basecaller.errors import SettingError
from basecaller.files import read_json, write_json
from basecaller.geometry import dilations
from basecaller.hpo.best import setting_of, standing, winner_of
from basecaller.hpo.grid import as_text, parse_overrides, read_space
from basecaller.hpo.storage import current_study
from basecaller.run import Result, job, train
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


def command(module: str, overrides: list[str], multirun: bool = False) -> str:
    """A command line that a user can type."""
    return shlex.join(["python", "-m", f"basecaller.{module}", *(["-m"] if multirun else []), *overrides])


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
        self.overrides = [line for line in overrides if not line.startswith(("plan=", "search."))]
        self.url, self.experiment = str(cfg.storage), str(cfg.experiment)
        self.folder = Path(cfg.output_dir)
        self.plan = [str(name) for name in cfg.plan]
        self.workers = divide(settings_workers(cfg), str(cfg.device))
        with hydra_app() as app:
            known = app.config_loader.get_group_options("stage")
        unknown = [name for name in self.plan if name not in known]
        if unknown or not self.plan:
            raise SettingError(f"plan={self.plan}: {unknown or 'nothing to run'}; stages are {', '.join(known)}")

    # -- stages

    def run_stage(self, name: str) -> dict[str, Any]:
        """Runs what a stage still misses, prints it, and returns its part of the report."""
        asked = [f"stage={name}", *self.overrides]
        self.console.rule(name)
        self.console.print(compose_config([f"stage={name}"]).stage.question, style="italic")
        skipped = self._nothing_to_ask(name)
        if skipped:
            self.console.print(f"skipped: {skipped}", style="bold")
            asked.append("padding=off")
        self.console.print(command("train", asked, multirun=True), style="dim", soft_wrap=True)
        with hydra_app() as app:
            app.multirun("config", job, [*self.workers.overrides, *asked])
        study = current_study(self.url, self.experiment, name)
        assert study is not None
        self.console.print(stage_table(study))
        return stage_report(name, study) | ({"skipped": skipped} if skipped else {})

    def _nothing_to_ask(self, name: str) -> str | None:
        """Why a stage's question has no answer on this data; None where it has one."""
        if list(self._planned(name)[0][0]) != ["padding"]:
            return None
        checked = settings(self.cfg)
        dataset = prepare(checked.data.name, checked.data.source, Path(checked.data.folder))
        lengths = np.unique(dataset.lengths[dataset.indices("train")])
        if len(lengths) > 1:
            return None
        return f"every chunk has {lengths[0]} samples, so there is nothing to pad; padding=off is kept"

    def preview(self) -> None:
        """Lists every trial of the plan with its settings and an estimate of its time; nothing runs."""
        total, seconds = 0, 0.0
        for name in self.plan:
            points, fixed = self._planned(name)
            table = Table("trial", "settings", "about", title=name, title_justify="left")
            for number, point in enumerate(points):
                cost = self._estimate({**fixed, **point})
                table.add_row(str(number), "  ".join(f"{k}={v}" for k, v in point.items()), f"{cost:.0f} s")
                seconds += cost
            grows = compose_config([f"stage={name}"]).stage.extend
            if grows:
                table.caption = f"and up to {grows} more beyond the edge of the grid, if the winner lies there"
            self.console.print(table)
            self.console.print("  ".join(f"{k}={v}" for k, v in fixed.items()), style="dim")
            total += len(points)
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
        """Trains the plan's winner longer, tests it on reads that no stage has seen, and returns its part of the report."""
        study, trial = winner_of(self.url, self.experiment, self._last_contest())
        chosen = winning_overrides(trial)
        longer = parse_overrides(chosen) | parse_overrides(flat_overrides(self.cfg.search.winner))
        overrides = [str(o.input_line) for o in longer.values()]
        folder = self.folder / "winner"
        self.console.rule("winner")
        self.console.print(command("train", overrides), style="dim", soft_wrap=True)
        cfg = compose_config([*overrides, f"threads={divide(1).threads}"])
        result = self._train(cfg, folder)
        self.console.print(f"validation: {result}")
        test = test_metrics(cfg, folder / "best.pt")
        self.console.print(
            f"test, reads that no stage has seen: loss {test['loss']:.4f} nats/base, identity mean "
            f"{test['identity_mean']:.1%}, median {test['identity_median']:.1%} (unrelated sequences "
            f"{test['identity_floor']:.1%}), mismatches {test['mismatch_rate']:.1%}, insertions "
            f"{test['insertion_rate']:.1%}, deletions {test['deletion_rate']:.1%}"
        )
        return {
            "settings": shown_settings(trial, chosen),
            "val_loss": result.metrics["val_loss"],
            "test": test,
            "validation": result.metrics,
            "facts": result.facts,
            "command": command("train", overrides),
            "folder": str(folder),
            "study": study.study_name,
            "trial": trial.number,
        }

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

    def report(self, stages: list[dict[str, Any]], winner: dict[str, Any], seconds: float) -> Path:
        """Writes `report.json`; the time of earlier, interrupted calls is added up."""
        path = self.folder / "report.json"
        before = read_json(path) or {}
        content = {
            "experiment": self.experiment,
            "command": command("search", [*self.overrides]),
            "winner": winner,
            "stages": stages,
            "seconds": round(seconds + float(before.get("seconds", 0)), 1),
        }
        write_json(path, content)
        return path


SAMPLE_BLOCKS_PER_SECOND = 2.4e6
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
    """Scores a checkpoint on the whole test split of a config's data set."""
    from basecaller.training.checkpoint import load_network
    from basecaller.training.device import choose_device
    from basecaller.training.evaluate import evaluate
    from basecaller.training.fit import choose

    checked = settings(cfg)
    dataset = prepare(checked.data.name, checked.data.source, Path(checked.data.folder))
    network = load_network(checkpoint).to(choose_device(checked.device))
    indices = choose(dataset, "test", None, checked.model.stride, checked.train.infeasible)
    return evaluate(network, dataset, indices)


def trial_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """The trials of a study as plain values, in their order."""
    kept = ("identity_mean", "updates", "samples", "parameters", "seconds", "taken_over", "folder", "message")
    return [
        {
            "number": t.number,
            "point": t.user_attrs.get("point", ""),
            "state": t.user_attrs.get("outcome", t.state.name.lower()),
            "value": t.value if t.state.name == "COMPLETE" else None,
            **{key: t.user_attrs[key] for key in kept if key in t.user_attrs},
        }
        for t in study.get_trials(deepcopy=False)
    ]


def stage_report(name: str, study: optuna.Study) -> dict[str, Any]:
    """A stage's part of `report.json`."""
    winner = standing(study).winner
    assert winner is not None
    return {
        "name": name,
        "study": study.study_name,
        "question": study.user_attrs["question"],
        "winner": {key: winner.params[key] for key in winner.params} | {"optimizer.lr": setting_of(winner, "optimizer.lr")},
        "value": winner.value,
        "trial": winner.number,
        "fixed": study.user_attrs["fixed"],
        "injected": study.user_attrs["injected"],
        "trials": trial_rows(study),
    }


def stage_table(study: optuna.Study) -> Table:
    """The trials of a stage, a column for each swept key; the winner is marked."""
    winner = standing(study).winner
    trials = study.get_trials(deepcopy=False)
    swept = list(dict.fromkeys(key for trial in trials for key in trial.params))
    derived = [] if "optimizer.lr" in swept else ["optimizer.lr"]
    table = Table()
    for key in (*swept, *derived):
        table.add_column(key.rpartition(".")[2] or key, overflow="fold")
    for heading in ("nats/base", "identity", "updates", "seconds", "state"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for trial, row in zip(trials, trial_rows(study), strict=True):
        best = winner is not None and trial.number == winner.number
        settings_ = [trial.params.get(key, "") for key in swept]
        rate = trial.user_attrs.get("config", {}).get("optimizer", {}).get("lr", "")
        state = "winner" if best else row["state"]
        cells = [*settings_, *([rate] if derived else [])]
        table.add_row(
            *(f"{cell:.3g}" if isinstance(cell, float) else as_text(cell) for cell in cells),
            _cell(row, "value", ".4f"),
            _cell(row, "identity_mean", ".1%"),
            _cell(row, "updates", ","),
            _cell(row, "seconds", ".1f") + ("*" if row.get("taken_over") else ""),
            state,
            style="bold" if best else None,
        )
    if any(row.get("taken_over") for row in trial_rows(study)):
        table.caption = "* trained before, with the same settings, seed, data and code"
    return table


def _cell(row: dict[str, Any], key: str, form: str) -> str:
    return format(row[key], form) if row.get(key) is not None else ""
