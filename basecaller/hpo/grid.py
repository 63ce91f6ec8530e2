"""What a sweep requests: fixed overrides, and the axes of a grid or a space to sample."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString, Transformer
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from basecaller.common.checking import rules_of, type_of, typed_scalar
from basecaller.common.errors import SettingError, meant
from basecaller.hpo.task import Task

PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][\w./-]*", re.IGNORECASE | re.ASCII)
"""Text that Hydra's grammar accepts without quotes."""


def as_text(value: Any) -> str:
    """A value in Hydra's override grammar. Text that starts like a list or a mapping is already in that grammar."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{as_text(key)}:{as_text(each)}' for key, each in value.items())}}}"
    if not isinstance(value, str) or PLAIN.fullmatch(value) or value[:1] in ("[", "{"):
        return str(value)
    return QuotedString(value, Quote.single).with_quotes()


@dataclass(frozen=True)
class Point:
    """One point of a space: a value for every swept key."""

    values: dict[str, Any]

    @property
    def key(self) -> str:
        """A key that is unique among the points of a study."""
        return " ".join(f"{key}={as_text(value)}" for key, value in self.values.items())


@dataclass(frozen=True)
class Entry:
    """One place in the queue: a point at a seed."""

    point: Point
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """The point's key, and the seed."""
        return self.point.key, self.seed


@dataclass
class Space:
    """A sweep, read from overrides.

    Attributes:
        fixed: the overrides that sweep nothing, in order, by key.
        axes: the values of every swept key, if all are finite.
        distributions: Optuna's distribution of every swept key.
        is_grid: whether all swept keys have finite choices.
        seeds: the seeds that points run at. The seed is not an axis: seeds that the user sweeps are replicates; otherwise the
            sweeper sets the seeds of the stage's `replicates`.
        written: swept keys as typed, with `+` or a package.
    """

    fixed: dict[str, str] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    is_grid: bool = True
    seeds: list[int] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)

    def points(self) -> list[Point]:
        """All points of the grid, the last key running fastest; one empty point if nothing is swept."""
        combinations = itertools.product(*self.axes.values())
        return [Point(dict(zip(self.axes, values, strict=True))) for values in combinations]

    def overrides(self, point: Point) -> list[str]:
        """The overrides that set a point on a job's command line."""
        return [f"{self.written[key]}={as_text(value)}" for key, value in point.values.items()]


def parse_overrides(lines: Iterable[str], config_loader: Any = None) -> dict[str, Override]:
    """Override lines by key; of two lines with the same key, the later one stays, at its place.

    Args:
        lines: the lines as typed.
        config_loader: Hydra's; `glob(...)` needs it.
    """
    by_key: dict[str, Override] = {}
    for override in OverridesParser.create(config_loader).parse_overrides(list(lines)):
        key = override.key_or_group if override.package is None else f"{override.key_or_group}@{override.package}"
        by_key.pop(key, None)
        by_key[key] = override
    return by_key


@dataclass(frozen=True)
class Keys:
    """Types and rules of the keys of a config.

    Attributes:
        group_options: returns the options of a config group; empty for any other key.
        task: knows the field that describes a key.
        config: the config that the keys belong to.
    """

    group_options: Callable[[str], list[str]]
    task: Task
    config: DictConfig

    def kind(self, key: str) -> type | None:
        """The type of a key's values; None for config groups and for keys that nothing describes."""
        found = None if self.group_options(key) else self.task.field_of(key, self.config)
        return type_of(*found)[0] if found else None

    def rules(self, key: str) -> Mapping[str, Any]:
        """The rules of a key's values; see `checking.RULES`."""
        found = self.task.field_of(key, self.config)
        return rules_of(*found) if found else {}

    def typed(self, key: str, value: Any) -> Any:
        """A value as its key's type, checked.

        Raises:
            SettingError: the key cannot have it.
        """
        options = self.group_options(key)
        if options:
            if value not in options:
                raise SettingError(f"{key}={value}: no such option; {meant(str(value), options, 'options')}")
            return value
        if isinstance(value, str) and "${" in value:
            return value
        return typed_scalar(self.task.field_of(key, self.config), value, key)

    def allows(self, key: str, value: Any) -> bool:
        """Whether a key can have a value."""
        try:
            self.typed(key, value)
        except SettingError:
            return False
        return True


def as_override(key: str, value: Any, written: str, keys: Keys) -> str:
    """A value of a stage's `params` in Hydra's grammar. Text is already in it, except for the result of an interpolation; a
    list holds the values to sweep, or is one value if the key takes a list.

    Args:
        key: the value's key.
        value: the plain value.
        written: the value as written in the file.
        keys: types and rules of the keys.
    """
    if isinstance(value, list):
        is_value = keys.kind(key) is tuple and not any(isinstance(each, list) for each in value)
        return as_text(value) if is_value else ",".join(map(as_text, value))
    if isinstance(value, str) and "${" not in value and not (written.startswith("${") and written.endswith("}")):
        return value
    return as_text(value)  # quoted if it still contains ${...}: the job resolves it


def read_space(overrides: dict[str, Override], keys: Keys, sampled: bool) -> Space:
    """Sorts overrides into fixed and swept ones.

    Args:
        overrides: see `parse_overrides`.
        keys: types and rules of the keys.
        sampled: whether the user chose a sampler, which then samples choices too instead of walking a grid.
    Raises:
        SettingError: a sweep that cannot be read, or a key that cannot be swept or have such a value.
    """
    seed = keys.task.seed
    swept = {key: override for key, override in overrides.items() if override.is_sweep_override()}
    space = Space(is_grid=not sampled and not any(override.is_interval_sweep() for override in swept.values()))
    space.fixed = {key: str(override.input_line) for key, override in overrides.items() if key not in swept}
    for key, override in swept.items():
        check_swept(keys.task, key, str(override.input_line))
        space.written[key] = override.get_key_element()
        if override.is_interval_sweep():
            space.distributions[key] = _interval(key, override, keys)
            continue
        values = _values(key, override, keys)
        if key == seed:
            space.seeds = values
        elif space.is_grid:
            space.distributions[key] = _axis(key, values, keys)
            whole = not _is_float(space.distributions[key])
            space.axes[key] = values if whole else [float(value) for value in values]
        else:
            space.distributions[key] = CategoricalDistribution(values)
    if space.seeds and not space.is_grid:
        if len(space.seeds) > 1:
            raise SettingError(
                f"{overrides[seed].input_line}: sampled points run at one seed; give one, then run the best points as a grid "
                "at several"
            )
        space.fixed[seed] = f"{seed}={space.seeds.pop()}"
    return space


def check_swept(task: Task, key: str, line: str) -> None:
    """Rejects a sweep over a key that is not a setting of a job.

    Args:
        task: the task that the key belongs to.
        key: key of the override.
        line: the override as typed.
    Raises:
        SettingError: the key is not a setting of a job.
    """
    if reason := task.why_unswept(key):
        raise SettingError(f"{line}: {reason}")


def _values(key: str, override: Override, keys: Keys) -> list[Any]:
    """The distinct values of a discrete sweep, as the key's type."""
    found = []
    for value in override.sweep_iterator():
        if isinstance(value, QuotedString):
            value = value.text
        elif isinstance(value, list | dict):
            value = Transformer.str(value)
        found.append(keys.typed(key, value))
    if not found:
        raise SettingError(f"{override.input_line}: gives no values")
    return list(dict.fromkeys(found))


def _axis(key: str, values: list[Any], keys: Keys) -> BaseDistribution:
    """The distribution of a grid's axis, chosen such that the axis can grow within its study.

    A study later accepts other bounds of a numeric distribution, but never other choices of a categorical one. So numbers
    become ranges of the key's type, and a key with a known set of options gets all of them.
    """
    options = keys.group_options(key) or list(keys.rules(key).get("choices", ()))
    if options:
        return CategoricalDistribution(options if None not in values else [None, *options])
    kind = keys.kind(key)
    if kind is bool or all(isinstance(value, bool) for value in values):
        return CategoricalDistribution([False, True] if None not in values else [None, False, True])
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return CategoricalDistribution(sorted(values, key=lambda value: (str(type(value)), str(value))))
    whole = kind is int or (kind is not float and all(isinstance(value, int) for value in values))
    if whole:
        return IntDistribution(min(values), max(values))
    return FloatDistribution(float(min(values)), float(max(values)))


def _interval(key: str, override: Override, keys: Keys) -> BaseDistribution:
    """The distribution of an interval, by the key's type."""
    line, kind, value = str(override.input_line), keys.kind(key), cast(IntervalSweep, override.value())
    low, high = value.start, value.end
    assert low is not None
    assert high is not None
    if keys.group_options(key) or kind in (bool, str, tuple, dict):
        raise SettingError(f"{line}: only numbers have an interval; give the values, as in {key}=choice(...)")
    if stepped := {"odd", "power_of_two"} & keys.rules(key).keys():
        raise SettingError(f"{line}: must be {'odd' if 'odd' in stepped else 'powers of two'}; give the values")
    whole = kind is int or (kind is None and isinstance(low, int) and isinstance(high, int))
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise SettingError(f"{line}: must be whole numbers")
    make: Any = int if whole else float
    low, high = keys.typed(key, make(low)), keys.typed(key, make(high))
    try:
        return (IntDistribution if whole else FloatDistribution)(low, high, log="log" in value.tags)
    except ValueError as error:
        raise SettingError(f"{line}: {error}") from None


def _is_float(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, FloatDistribution)


def widened(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """A numeric distribution extended by one value."""
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return type(distribution)(min(distribution.low, value), max(distribution.high, value))
