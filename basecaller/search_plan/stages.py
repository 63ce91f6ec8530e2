"""One step of a search as a Hydra multirun, and the contents of a stage's file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from basecaller.common.places import conf_dir
from basecaller.hpo.grid import Keys, Space, as_override, as_text, check_swept, parse_overrides, read_space
from basecaller.hpo.hydra_private import Hydra
from basecaller.hpo.winners import uses
from basecaller.reporting.search_state import study_stage
from basecaller.task import TASK, Training, run_job

FINALISTS, COMBINED, CONTENDERS, HEADLINE = "finalists", "combined", "contenders", "headline"
"""The stages that compare whole configurations after longer trainings."""


@contextmanager
def hydra_app() -> Iterator[Hydra]:
    """Hydra, set up like `hydra.main` does, for multiruns inside this process: workers stay warm between stages."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir(), job_name="train"):
        app = GlobalHydra.instance().hydra
        assert app is not None
        yield app


@dataclass(frozen=True)
class Step:
    """A sweep that a search runs.

    Attributes:
        stage: its file in `conf/stage/`.
        overrides: its overrides.
        asking: number of the asking, see `Asked`.
        why: why the question is asked again; empty for the first asking.
        skipped: why there is nothing to ask; empty if there is.
        note: a remark for the reader.
    """

    stage: str
    overrides: list[str]
    asking: int = 1
    why: str = ""
    skipped: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The name under which its study is stored."""
        return study_stage(self.stage, self.asking)


class Searching(Training):
    """Trainings of a search, which prints the verdict of a sweep below its table."""

    def concluded(self, study: str, verdict: str) -> None:
        """Logs nothing."""


SEARCHING = Searching()


def run_sweep(overrides: list[str]) -> str:
    """Runs a sweep's missing trials; returns its study's name."""
    with hydra_app() as app:
        return str(app.multirun("config", run_job, overrides))


@dataclass(frozen=True)
class StageFile:
    """The contents of a stage's file.

    Attributes:
        name: name of the file.
        stage: its `stage` section: question, choice, nuisance axes.
        params: its overrides by key, as text, `${best:...}` unresolved.
        config: the config that it composes to.
    """

    name: str
    stage: DictConfig
    params: dict[str, str]
    config: DictConfig

    @property
    def choice(self) -> str | None:
        """The scientific hyperparameter: the key that the stage asks about."""
        return None if self.stage.choice is None else str(self.stage.choice)

    def allows(self, key: str, value: Any) -> bool:
        """Whether a key, which is no config group, can have a value."""
        return Keys(lambda group: [], TASK, self.config).allows(key, value)

    def planned(self, overrides: list[str], group_options: Callable[[str], list[str]]) -> tuple[Space, dict[str, str]]:
        """The grid and the fixed settings, as far as known before earlier stages have run.

        Args:
            overrides: the user's overrides; they take precedence by key.
            group_options: returns the options of a config group; empty for any other key.
        Returns:
            The space, and the fixed settings by key; settings that an earlier stage decides are described in words.
        """
        later = {key: describe(value) for key, value in self.params.items() if "${" in value}
        known = parse_overrides(f"{key}={value}" for key, value in self.params.items() if key not in later)
        asked = parse_overrides(overrides)
        keys = Keys(group_options, TASK, self.config)
        space = read_space(known | asked, keys, sampled=False)
        fixed = {key: line.partition("=")[2] for key, line in space.fixed.items()}
        return space, fixed | {key: text for key, text in later.items() if key not in asked}


def read_stage(name: str, overrides: list[str]) -> StageFile:
    """A stage's file, with the user's overrides of its `stage` section."""
    with hydra_app() as app:
        config = app.config_loader.load_configuration("config", [f"stage={name}", *unswept(overrides)], RunMode.MULTIRUN)
        params = OmegaConf.to_container(config.hydra.sweeper.params, resolve=False)
        assert isinstance(params, dict)
        keys = Keys(app.config_loader.get_group_options, TASK, config)
        lines = {str(k): v if isinstance(v, str) else as_override(str(k), v, "", keys) for k, v in params.items()}
    return StageFile(name, config.stage, lines, config)


def composed_settings(overrides: list[str], keys: list[str]) -> dict[str, Any]:
    """The settings that some overrides compose to, by override key: the choice of a config group or the value of a dotted
    key."""
    with hydra_app() as app:
        config = app.config_loader.load_configuration("config", overrides, RunMode.RUN)
    choices = config.hydra.runtime.choices
    return {key: choices[key] if key in choices else OmegaConf.select(config, key) for key in keys}


def describe(value: str) -> str:
    """Describes a setting that an earlier stage decides, for a reader."""
    stages = [stage for found, _ in uses(value) for stage in found]
    return f"<{'scaled ' if 'rate' in value else ''}best of {'|'.join(stages)}>"


def unswept(overrides: list[str]) -> list[str]:
    """The overrides that sweep nothing, which all stages share.

    Raises:
        SettingError: a swept key is not a setting of a training.
    """
    parsed = parse_overrides(overrides)
    for key, override in parsed.items():
        if override.is_sweep_override():
            check_swept(TASK, key, str(override.input_line))
    return [str(override.input_line) for override in parsed.values() if not override.is_sweep_override()]


def flat(node: DictConfig, prefix: str = "") -> dict[str, Any]:
    """The leaves of a config, by dotted key."""
    found = dict[str, Any]()
    for key, value in node.items():
        path = f"{prefix}{key!s}"
        found |= flat(value, f"{path}.") if isinstance(value, DictConfig) else {path: value}
    return found


def flat_overrides(node: DictConfig) -> list[str]:
    """The leaves of a config as overrides."""
    return [f"{key}={as_text(value)}" for key, value in flat(node).items()]
