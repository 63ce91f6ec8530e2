"""A network by name: the class that `model._target_` names, and the keys of its `model` section. Does not import torch.

The keys are the arguments of the class. Their types come from its annotations, their rules from `Annotated[int, {"least": 1}]`
(see `checking.RULES`), their choices from `Literal`, and their meanings from `Args:` in its docstring.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from basecaller.common.checking import section
from basecaller.common.errors import SettingError
from basecaller.common.geometry import Model
from basecaller.common.source_code import file_version
from basecaller.data.dataset import ALPHABET

if TYPE_CHECKING:
    from torch import nn

TARGET = "_target_"
"""The key of the `model` section that names a class. RawCTCNet's section has none."""

OURS = "basecaller.networks"
"""The package whose networks may always be imported."""

CODE = "code"
"""The key in the `model` section of a stored config that has `Named.code`."""

SHARED = {TARGET: "Class of the network, as package.module.Class.", "name": "Name of the model. Set by `model=...`."}
"""Keys of every `model` section of a named network, with their meanings."""


@dataclass(frozen=True)
class Named:
    """The checked `model` section of a named network.

    Attributes:
        name: name of the model.
        target: dotted name of the class.
        arguments: arguments of the class other than `labels`.
        code: digest of the file that defines the class.
        stride: samples per output frame.
        receptive_field: samples of signal that one output frame sees.
    """

    name: str
    target: str
    arguments: dict[str, Any]
    code: str
    stride: int
    receptive_field: int

    def section(self) -> dict[str, Any]:
        """The `model` section as plain values, for a checkpoint."""
        return {TARGET: self.target, "name": self.name, **self.arguments}

    def module(self, labels: int, seed: int) -> nn.Module:
        """The network with a seed's initial weights, on the CPU.

        Args:
            labels: number of labels that it scores, including the blank.
            seed: seed of the weights.
        Raises:
            SettingError: the class rejects its arguments.
        """
        return _made(self.target, self.arguments, labels, seed)


def kind_of(node: Mapping[Any, Any], allowed: Sequence[str]) -> type:
    """The dataclass that describes the keys of a `model` section.

    Args:
        node: the section.
        allowed: modules and packages that may be imported in addition to `OURS`.
    Raises:
        SettingError: the class may not or cannot be imported, or is not a network; or no key can describe its arguments.
    """
    if TARGET not in node:
        return Model
    if isinstance(allowed, str) or not isinstance(allowed, Sequence):
        raise SettingError(f"networks={allowed}: must be a list, as in networks=[mynet]")
    check_allowed(str(node[TARGET]), allowed)
    return _described(str(node[TARGET]))


def model_settings(node: dict[str, Any], allowed: Sequence[str]) -> Model | Named:
    """A checked `model` section.

    Raises:
        SettingError: see `kind_of` and `checking.section`; or the class rejects its arguments.
    """
    checked: Any = section(kind_of(node, allowed), node, "model")
    if isinstance(checked, Model):
        return checked
    values = dict(vars(checked))
    target, name = values.pop(TARGET), values.pop("name")
    stride, field = _geometry(target, json.dumps(values))
    return Named(name, target, values, file_version(_source(target)), stride, field)


def check_allowed(target: str, allowed: Sequence[str], where: str = "model._target_") -> None:
    """Rejects a class that may not be imported: importing a module runs its code.

    Raises:
        SettingError: the class is in neither `OURS` nor an allowed module.
    """
    if not any(target.startswith(f"{module}.") for module in (OURS, *allowed)):
        module = target.rpartition(".")[0] or target
        raise SettingError(f"{where}={target}: may not be imported; if you trust its code, allow it with 'networks=[{module}]'")


@cache
def _class(target: str) -> type[nn.Module]:
    """The class of an allowed name. Its module is imported as usual, or from the working folder.

    Raises:
        SettingError: the class cannot be imported, or is not a network.
    """
    from torch import nn  # here: PyTorch starts slowly, and RawCTCNet's settings do not need it

    module, _, name = target.rpartition(".")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may raise anything
        raise SettingError(f"model._target_={target}: cannot be imported ({type(error).__name__}: {error})") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise SettingError(f"model._target_={target}: must be a class of torch.nn.Module")
    return found


def _source(target: str) -> Path:
    """The file that defines a class."""
    return Path(inspect.getfile(_class(target)))


@cache
def _described(target: str) -> type:
    """A dataclass whose fields are the arguments of a class other than `labels`."""
    network = _class(target)
    arguments = [p for p in inspect.signature(network).parameters.values() if p.name != "labels"]
    if len(arguments) == len(inspect.signature(network).parameters):
        raise SettingError(f"model._target_={target}: must take an argument `labels`, the number of labels to score")
    hints = get_type_hints(network.__init__, include_extras=True)
    fields = [(name, str, dataclasses.field()) for name in SHARED]
    for argument in arguments:
        if argument.kind not in (argument.KEYWORD_ONLY, argument.POSITIONAL_OR_KEYWORD) or argument.name not in hints:
            raise SettingError(f"model._target_={target}: argument {argument.name} must be named and have a type annotation")
        hint, rules = hints[argument.name], dict[str, Any]()
        if get_origin(hint) is Annotated:
            hint, rules = get_args(hint)[0], dict(get_args(hint)[1])
        if get_origin(hint) is Literal:
            hint, rules = str, {"choices": get_args(hint)}
        fields.append((argument.name, hint, dataclasses.field(metadata=rules)))
    shared = "".join(f"    {name}: {meaning}\n" for name, meaning in SHARED.items())
    entries = inspect.cleandoc(network.__doc__ or "").partition("Args:\n")[2]
    documented = f"The `model` section.\n\nAttributes:\n{shared}{entries}"
    return dataclasses.make_dataclass(f"{network.__name__}Settings", fields, frozen=True, namespace={"__doc__": documented})


@cache  # the trials of a sweep share most of their networks
def _geometry(target: str, arguments_json: str) -> tuple[int, int]:
    """Stride and receptive field of a network, in samples."""
    network = _made(target, json.loads(arguments_json), 1 + len(ALPHABET), 0)
    found = tuple(getattr(network, name, None) for name in ("stride", "receptive_field"))
    if not all(isinstance(value, int) and value >= 1 for value in found):
        raise SettingError(
            f"model._target_={target}: must have the attributes stride and receptive_field, whole numbers of samples"
        )
    return found  # type: ignore[return-value]


def _made(target: str, arguments: dict[str, Any], labels: int, seed: int) -> nn.Module:
    import torch  # here: as above

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        try:
            return _class(target)(labels=labels, **arguments)
        except (ValueError, TypeError) as error:
            raise SettingError(f"model: {target} rejects these settings: {error}") from error
