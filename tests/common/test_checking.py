"""Values are checked against the dataclass fields that describe them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from omegaconf import OmegaConf

from basecaller.common.checking import kind_in_words, meaning_of, rules_of, section, type_of, typed
from basecaller.common.errors import SettingError


@dataclass(frozen=True)
class Base:
    """What both have.

    Attributes:
        name: What it
            is called.
    """

    name: str = field(metadata={"longest": 4})


@dataclass(frozen=True)
class Section(Base):
    """An example.

    Attributes:
        rate, factor: Two numbers.
    """

    rate: float = field(metadata={"above": 0, "below": 1})
    factor: float | None
    count: int = field(metadata={"least": 1, "odd": True})
    width: int | None = field(metadata={"power_of_two": True})
    kind: str = field(metadata={"choices": ("a", "b")})
    on: bool
    files: tuple[str, ...] | None = field(metadata={"distinct": True})
    more: dict
    letters: str = field(metadata={"matches": ("[ab]*", "letters a and b")})
    folder: str = field(metadata={"path": True})


WHOLE = {
    "name": "x", "rate": 0.5, "factor": None, "count": 3, "width": 8, "kind": "a", "on": True, "files": ("f",), "more": {},
    "letters": "ab", "folder": "f",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", "1e-3", 0.001),
        ("factor", 2, 2.0),
        ("factor", None, None),
        ("count", "7", 7),
        ("on", "Yes", True),
        ("on", 0, False),
        ("files", ["b", 1], ("b", "1")),
        ("name", 12, "12"),
    ],
)
def test_equivalent_values_become_the_fields_type(name, value, expected):
    found = typed(Section, name, value, name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rate", 0, "x.rate=0.0: must be above 0"),
        ("rate", 1, "x.rate=1.0: must be below 1"),
        ("rate", "inf", "x.rate=inf: must be a finite number"),
        ("rate", True, "x.rate=true: must be a number"),
        ("rate", None, "x.rate=null: must be a number"),
        ("factor", "much", "x.factor=much: must be a number or null"),
        ("count", 2, "x.count=2: must be odd"),
        ("count", 2.0, "x.count=2.0: must be a whole number"),
        ("count", "1" * 5000, "must be a whole number"),
        ("width", 12, "x.width=12: must be a power of two"),
        ("kind", "c", "x.kind=c: must be one of a, b"),
        ("on", "perhaps", "x.on=perhaps: must be true or false"),
        ("files", ["f", "f"], r"x.files=\[f,f\]: must not repeat a value"),
        ("files", "f", r"x.files=f: must be a list or null, as in x.files=\[f\]"),
        ("more", [], "must be a mapping"),
        ("name", "äöü", "x.name=äöü: must be at most 4 bytes long"),
        ("name", ["a"], "must be text"),
        ("letters", "abc", "x.letters=abc: must be letters a and b"),
        ("folder", "", "x.folder=: must not be empty"),
    ],
)
def test_errors_about_values_name_the_key(name, value, words):
    with pytest.raises(SettingError, match=words):
        typed(Section, name, value, f"x.{name}")


def test_a_section_has_all_its_keys_and_no_others():
    assert section(Section, OmegaConf.create(WHOLE | {"count": "3", "files": ["f"]}), "x") == Section(**WHOLE)
    with pytest.raises(SettingError, match=r"x\.colour: unknown key; known keys are name, rate"):
        section(Section, WHOLE | {"colour": 1}, "x")
    for missing in ({key: value for key, value in WHOLE.items() if key != "kind"}, WHOLE | {"kind": "???"}):
        with pytest.raises(SettingError, match=r"x\.kind: must be given, as in x\.kind=\.\.\."):
            section(Section, missing, "x")


def test_a_field_describes_its_values_and_its_meaning():
    assert kind_in_words(Section, "rate") == "a number, above 0, below 1"
    assert kind_in_words(Section, "width") == "a whole number, a power of two, or null"
    assert kind_in_words(Section, "factor") == "a number or null"
    assert kind_in_words(Section, "kind") == "a | b"
    assert kind_in_words(Section, "letters") == "letters a and b"
    assert kind_in_words(Section, "folder") == "a path"
    assert meaning_of(Section, "factor") == "Two numbers."
    assert meaning_of(Section, "name") == "What it is called."  # of the class above, over two lines
    assert meaning_of(Section, "count") == ""
    assert type_of(Section, "files") == (tuple, True)
    assert dict(rules_of(Section, "kind")) == {"choices": ("a", "b")}


@dataclass(frozen=True)
class Range:
    """Two keys that depend on each other."""

    low: int
    high: int

    def check_keys(self, where: str) -> None:
        if self.high < self.low:
            raise SettingError(f"{where}.high={self.high}: must be at least {where}.low={self.low}")


def test_a_section_may_have_rules_about_several_keys():
    assert section(Range, {"low": 1, "high": "2"}, "x") == Range(1, 2)
    for _ in range(2):  # the second is not an answer from memory
        with pytest.raises(SettingError, match=r"x\.high=0: must be at least x\.low=1"):
            section(Range, {"low": 1, "high": 0}, "x")
