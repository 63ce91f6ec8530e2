"""A sweep: the grid of a stage becomes a study with a queue of trials, which run as jobs."""

from __future__ import annotations

import logging
import time
from concurrent.futures import BrokenExecutor
from functools import cache, partial
from typing import Any

import optuna
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from basecaller.common.errors import BasecallerError, FailedStageError, SettingError
from basecaller.common.files import check_writable, remove_lock, write_yaml
from basecaller.common.nested import digest, value_at, without
from basecaller.common.resolving import user_error
from basecaller.common.workers import cores
from basecaller.hpo import queue
from basecaller.hpo.designs import EVERY, planned
from basecaller.hpo.edges import edges, is_ordered, outward
from basecaller.hpo.grid import Entry, Keys, Point, Space, as_override, parse_overrides, read_space, widened
from basecaller.hpo.hydra_private import error_of
from basecaller.hpo.optuna_private import trial_id
from basecaller.hpo.records import CONCLUSIVE, Outcome, StudyRecord, store_study, trials_of
from basecaller.hpo.sampling import check_sampler, suggested, unclaimed_ended
from basecaller.hpo.standing import conclude_study, standing
from basecaller.hpo.storage import check_storage, name_objective, open_study
from basecaller.hpo.task import Task
from basecaller.hpo.trial import JobTrial
from basecaller.hpo.urls import shown_config, without_password
from basecaller.hpo.verdicts import at_edges, verdict
from basecaller.hpo.winners import injections

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between two checks of trials that run in other processes."""


class Sweep:
    """Runs the missing trials of a sweep with Hydra's launcher.

    Args:
        task: the task that describes the jobs.
        config: Hydra's config, composed without the swept keys.
        loader: Hydra's config loader, or `job_configs.OnceComposed`; composes the configs of the jobs.
        launcher: runs the jobs.
        sampler: the config of Optuna's sampler; None: see `sweeper.SweeperConfig`.
        n_trials: total number of trials of a sampled space.
    """

    def __init__(
        self,
        task: Task,
        config: DictConfig,
        loader: Any,
        launcher: Launcher,
        sampler: DictConfig | None,
        n_trials: int,
    ) -> None:
        self.task, self.config, self.loader, self.launcher = task, config, loader, launcher
        self.sampler_config, self.n_trials = sampler, n_trials
        self.keys = Keys(cache(loader.get_group_options), task, config)

    # -- the request

    def _params(self, skip: set[str]) -> list[str]:
        """The overrides of the stage with `${best:...}` resolved, except for keys that the command line sets."""
        node, lines = self.config.hydra.sweeper.params, []
        written = OmegaConf.to_container(node, resolve=False)
        assert isinstance(written, dict)
        self.injected: dict[str, list[str]] = {}
        for key in map(str, node):
            if key.lstrip("+") in skip:
                continue
            try:
                value = node[key]
                if isinstance(value, ListConfig | DictConfig):
                    value = OmegaConf.to_container(value, resolve=True)
                lines.append(f"{key}={as_override(key, value, str(written[key]), self.keys)}")
            except InterpolationResolutionError as error:
                stage = self.task.stage(self.config).name
                raise user_error(error) or SettingError(f"stage {stage}, {key}: {error.msg}") from error
            if found := injections(str(written[key]), self.task, self.config):
                self.injected[key] = found
        return lines

    def space(self, arguments: list[str]) -> Space:
        """The grid of the stage merged with the command line by key; the command line wins."""
        command_line = parse_overrides(arguments, self.loader)
        own = parse_overrides(self._params(set(command_line)), self.loader)
        overrides = own | command_line
        self.own_axes = {key for key, override in own.items() if override.is_sweep_override()}
        space = read_space(overrides, self.keys, self.sampler_config is not None)
        self.halving = space.is_grid and not space.seeds
        return space

    def _composed(self, space: Space, point: Point | None = None) -> DictConfig:
        """The config of a point, without its seed."""
        lines = [*space.fixed.values(), *(space.overrides(point) if point else [])]
        config: DictConfig = self.loader.load_sweep_config(self.config, lines)
        return config

    def check(self, space: Space) -> dict[str, Any]:
        """Checks every point with the task, then the storage, then prepares the points; sets stage, place and seeds. Whatever
        is quick comes first, and nothing is stored.

        Returns:
            The plain values of the first point's config, or of the fixed settings if a space is sampled.
        """
        composed = [self._composed(space, point) for point in (space.points() if space.is_grid else [None])]
        values, *_ = [self.task.check(config) for config in composed]
        self.stage, self.place = self.task.stage(composed[0]), self.task.place(composed[0])
        check_storage(self.place.url)
        check_writable(self.place.folder)
        for config in composed:
            self.task.prepare(config)
        if not space.seeds:
            first = int(value_at(values, self.task.seed))
            space.seeds = [first + i for i in range(self.stage.replicates if space.is_grid else 1)]
        return values

    def context(self, space: Space, config: dict[str, Any]) -> str:
        """Digest of everything that the trials of a study share, so that only comparable trials share a study."""
        shared = without(config, (*self.task.ignored, self.task.seed, *space.distributions))
        # An override computed from swept keys counts as written, not with the value at the first point; overrides below a swept
        # group still apply to every point.
        telling = {key: line for key, line in space.fixed.items() if key not in self.task.ignored}
        written: dict[str, Any] = {k: line for k, line in telling.items() if "${" in line or self._is_below(k, space)}
        shared = without(shared, tuple(written))
        for key, line in written.items():
            if "${" not in line:
                value = parse_overrides([line])[key].value()
                written[key] = value if isinstance(value, list | dict) else self.keys.typed(key, value)
        shape = {} if space.is_grid else {key: repr(d) for key, d in space.distributions.items()}
        choices = {key: d.choices for key, d in space.distributions.items() if hasattr(d, "choices")}
        apart = self.task.apart(config)
        return digest([shared, written, sorted(space.distributions), shape, choices, str(self.sampler_config), *apart])

    @staticmethod
    def _is_below(key: str, space: Space) -> bool:
        return any(key.startswith(f"{swept}.") for swept in space.distributions)

    # -- running

    def run(self, arguments: list[str]) -> str:
        """Runs the missing trials.

        Returns:
            The study's name.
        Raises:
            BasecallerError: the sweep is invalid; nothing was stored.
        """
        choices = self.config.hydra.runtime.choices
        check_sampler(self.sampler_config, str(choices.get("hydra/sweeper/sampler")))
        space = self.space(arguments)
        context = self.context(space, self.check(space))
        self.task.begins(self.config)
        stage, self.folder = self.stage, self.place.folder
        asked = stage.name if stage.asking == 1 else f"{stage.name}.{stage.asking}"
        study = open_study(self.place.url, f"{self.place.experiment}/{asked}/{context}")
        name_objective(study, str(self.task.objective))
        for sources in self.injected.values():
            log.info("%s", "; ".join(sources))
        store_study(
            study,
            question=stage.question,
            fixed={key: without_password(line) for key, line in space.fixed.items()},
            injected=self.injected,
            arguments=[without_password(line) for line in arguments],
            choice=self._choice(space),
            seeds=space.seeds,
            concluded=None,
            asked=time.time(),  # this makes it the current study of its stage
        )
        files = self.folder / "sweeps" / study.study_name.partition("/")[2]
        write_yaml(files / "multirun.yaml", shown_config(self.config))
        self.done, self.launches = 0, dict[tuple[str, int], int]()
        if space.is_grid:
            self._walk(study, space)
        else:
            self._sample(study, space)
        stand = standing(study)
        for point, outcome in stand.failed.items():
            log.warning("%s: %s", point, outcome)
        self.task.ended(study)
        if stand.winner is None:
            reasons = "; ".join(f"{point or 'its one point'}: {outcome}" for point, outcome in stand.failed.items())
            message = f"stage {stage.name}: none of its trials gave a value ({reasons}); see the messages above"
            raise FailedStageError(message, study.study_name)
        best = {"best_params": stand.winner.params, "best_value": stand.loss_of(str(stand.conclusion.winner))}
        write_yaml(files / "optimization_results.yaml", {"name": "optuna", "study": study.study_name, **best})
        if not stand.open:
            conclude_study(study, stand)
        conclusion = f"{verdict(stand, self.task.objective)} {at_edges(StudyRecord.of(study).edges, stand.winner.params)}"
        self.task.concluded(study.study_name, conclusion.rstrip())
        return study.study_name

    def _choice(self, space: Space) -> str | None:
        """The key that the stage asks about, if it is swept."""
        return self.stage.choice if self.stage.choice in space.distributions else None

    def _launch(self, study: optuna.Study, space: Space, trials: list[tuple[int, Entry]]) -> None:
        seed, own = self.task.seed, partial(self.task.trial_overrides, study.study_name)
        fixed = [line for key, line in space.fixed.items() if key != seed]
        jobs = [[*fixed, *space.overrides(entry.point), f"{seed}={entry.seed}", *own(number)] for number, entry in trials]
        try:
            returned = self.launcher.launch(jobs, initial_job_idx=self.done)
        except BrokenExecutor as error:
            log.warning("a worker process died (%s); its trial goes back into the queue", error)
        else:
            for job in returned:
                if job.status == JobStatus.FAILED:  # outside its trial
                    raise error_of(job)
        self.done += len(jobs)

    def _walk(self, study: optuna.Study, space: Space) -> None:
        """Runs the grid by the design of the stage. If the best point is at an edge and the stage allows it, extends the grid.

        If the grid may grow, every seed is completed before the grid grows or the next seed begins.
        """
        self._design(space)
        points, grown, extend = space.points(), 0, self.stage.extend
        while True:
            self._ask(study, space, points)
            beyond: list[Point] = []
            for level in range(1 if grown < extend else len(space.seeds), len(space.seeds) + 1):
                self._finish(study, space, points, level)
                beyond = self._beyond(study, space, level) if grown < extend else []
                if beyond:
                    break
            if not beyond:
                break
            points, grown = points + beyond, grown + 1
        winner = standing(study).winner
        store_study(study, edges=edges(winner.params, space.axes, self.keys.rules) if winner else {})

    def _design(self, space: Space) -> None:
        """The design, with rates from high to low."""
        self.design = EVERY
        if self.halving:
            choice = self._choice(space)
            self.design, _, count = planned(self.stage.design, space.axes, choice, len(space.seeds))
            space.seeds = [space.seeds[0] + i for i in range(count)]
            for key, values in space.axes.items():
                if key != choice and self.design.kind == "rounds" and self.design.stops and len(values) > 1:
                    space.axes[key] = sorted(values, reverse=True)

    def _ask(self, study: optuna.Study, space: Space, points: list[Point]) -> None:
        """Stores the request; every process derives the state of the study from it."""
        values = space.axes.get(self._choice(space) or "", [])
        ordered = self.stage.simple_first and len(values) > 1
        store_study(
            study,
            seeds=space.seeds,
            points=[point.key for point in points],
            settings={point.key: point.values for point in points},
            design=self.design,
            measure=self.stage.measure,
            incumbent=self.stage.incumbent,
            axes=space.axes,
            simple_first=(sorted(values) if is_ordered(values) else values) if ordered else None,
        )

    def _beyond(self, study: optuna.Study, space: Space, level: int) -> list[Point]:
        """Extends the stage's own ordered axes by the best point's neighbours outside the grid, and returns these points."""
        stand = standing(study)
        leader = stand.conclusion_at(level).winner
        if leader is None:
            return []
        params = stand.settings[leader]
        beyond = []
        for key, end in edges(params, space.axes, self.keys.rules).items():
            allows = partial(self.keys.allows, key)
            value = outward(space.axes[key], end, allows) if key in self.own_axes else None
            if value is not None:
                space.axes[key] = [*space.axes[key], value]
                space.distributions[key] = widened(space.distributions[key], value)
                beyond.append(Point({**{k: params[k] for k in space.axes}, key: value}))
                log.info("the best %s is the %s of its grid: trying %s", key, end, value)
        return beyond

    def _finish(self, study: optuna.Study, space: Space, points: list[Point], level: int) -> None:
        """Runs the entries of the design at the first `level` seeds, step by step, until all have ended, here or in other
        processes."""
        by_key = {point.key: point for point in points}
        while True:
            with queue.study_lock(self.folder, study):
                queue.release_abandoned(study, self.folder, self.launches)
                stand = standing(study)
                # retries failures of earlier sweeps; failures of this sweep wait for the next one
                again = {e for e, how in stand.dead.items() if e not in self.launches and how not in CONCLUSIVE}
                wanted = stand.wanted(level, again)
                entries = [Entry(by_key[point], seed) for point, seed in wanted]
                queue.fill(study, space, [e for e in entries if self.launches.get(e.key, 0) < queue.ATTEMPTS])
            trials = queue.waiting(study, entries)
            if trials:
                # A worker that dies takes other jobs with it. Their trials then run one at a time, to find the cause.
                alone = [(number, entry) for number, entry in trials if self.launches.get(entry.key)]
                trials = alone[:1] or trials
                for _, entry in trials:
                    self.launches[entry.key] = self.launches.get(entry.key, 0) + 1
                self._launch(study, space, trials)
            elif queue.running(study):
                time.sleep(POLL)
            elif not entries:
                break

    def _sample(self, study: optuna.Study, space: Space) -> None:
        """Asks the sampler for points until `n_trials` trials have ended."""
        store_study(study, n_trials=self.n_trials)
        me = f"sweeper-{digest([study.study_name, time.time_ns()])}"
        with queue.named_lock(self.folder, me):
            while True:
                with queue.study_lock(self.folder, study):
                    queue.release_abandoned(study, self.folder, self.launches)
                    asked = [suggested(study, space, self.sampler_config, me) for _ in range(self._missing(study))]
                launched = [(trial.number, entry) for trial, entry in asked if self._is_sound(study, space, trial, entry)]
                if launched:
                    # no retry if its process dies: another point is as good
                    self.launches |= {(f"{number}: {e.point.key}", e.seed): queue.ATTEMPTS for number, e in launched}
                    with unclaimed_ended(study, {number for number, _ in launched}):
                        self._launch(study, space, launched)
                elif not asked and queue.running(study):
                    time.sleep(POLL)
                elif not asked:
                    break
        remove_lock(queue.named_lock(self.folder, me))

    def _missing(self, study: optuna.Study) -> int:
        """Number of points to request at once: as many as can run in parallel, at most those still missing."""
        counted = [trial for trial in trials_of(study) if trial.outcome != Outcome.ABANDONED]
        asked = OmegaConf.select(self.config, "hydra.launcher.n_jobs") or self.place.workers or 1
        at_once = int(asked) if int(asked) > 0 else cores()  # -1 is one job per core in joblib
        return min(at_once, self.n_trials - len(counted))

    def _is_sound(self, study: optuna.Study, space: Space, trial: optuna.Trial, entry: Entry) -> bool:
        """Whether a suggested point is valid; ends its trial if not."""
        try:
            config = self._composed(space, entry.point)
            self.task.check(config)
            self.task.prepare(config)
        except BasecallerError as error:
            JobTrial(study, trial_id(trial)).end(Outcome.FAILED, message=str(error))
            return False
        return True
