"""The page that people read: its structure, contrast and figures."""

from __future__ import annotations

import itertools
import re
import time
from html.parser import HTMLParser

import pytest

from basecaller.hpo.records import store_study
from basecaller.hpo.storage import open_study
from basecaller.hpo.task import CANDIDATE
from tests.helpers.reporting import report, search
from tests.helpers.sweeping import URL

pytestmark = pytest.mark.usefixtures("folder")


class Page(HTMLParser):
    """The elements of a page in order, with their attributes, and the errors in its structure."""

    VOID = frozenset({"meta", "br", "link", "input", "img", "hr", "wbr"})
    OPTIONAL = frozenset({"tr", "td", "th", "p"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        assert not [tag for tag in self.open if tag not in self.OPTIONAL]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        closes = {"td": ("td", "th"), "th": ("td", "th"), "tr": ("td", "th", "tr")}.get(tag, ())
        while self.open and self.open[-1] in closes:
            self.open.pop()
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] != tag:
            assert self.open[-1] in self.OPTIONAL, (tag, self.open)
            self.open.pop()
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.append((self.open[-1], data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


def contrast(a: str, b: str) -> float:
    """Contrast of two colours, by the Web Content Accessibility Guidelines 2.2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.slow
def test_the_page_suits_phones_paper_and_screen_readers(folder):
    search("search.finalists=3", "search.finalist_share=0.5").run()
    facts, html, markdown = report(folder)
    page = Page(html)
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert not any(meta.get("http-equiv") == "refresh" for meta in page.all("meta"))  # it has ended
    headings = [int(tag[1]) for tag, _, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    ids = [attributes["id"] for _, attributes, _ in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    tables = [(number, around) for number, (tag, _, around) in enumerate(page.elements) if tag == "table"]
    assert len(tables) >= len(facts["stages"]) + 1
    for number, around in tables:
        assert around[-1] == "div"
        box = page.elements[number - 1][1]
        assert (box["class"], box["tabindex"], box["role"]) == ("wide", "0", "region")  # scrolls by itself, with keys too
        assert box["aria-label"]
        assert page.elements[number + 1][0] == "caption"
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    drawings = page.all("svg")
    assert len(drawings) == len(re.findall("<svg", html))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    assert len([1 for tag, _, around in page.elements if tag == "title" and around[-1] == "svg"]) == len(drawings)
    assert "@media print" in html
    colours = dict(re.findall(r"--(\w+): (#\w+)", html))
    for ink, paper in itertools.product(("ink", "soft", "blue", "orange"), ("paper", "tint")):
        assert contrast(colours[ink], colours[paper]) >= 4.5
    assert all(contrast(colours["ink"], colours[paper]) >= 7 for paper in ("good", "bad"))
    assert ("h2", "What each question was worth") in page.text
    assert ("h2", "How the winner learned") in page.text
    labels = [svg["aria-label"] for svg in drawings]
    assert {of["key"] for of in facts["decisions"]} == facts["winner"]["settings"].keys()
    assert "| `model.batch_norm` |" in markdown
    notes = {stage["name"]: stage["note"] for stage in facts["stages"]}
    assert notes["headline"] + "." == facts["winner"]["gain"]["text"]
    assert all(re.fullmatch(r"\|(---\|)+", line) for line in markdown.splitlines() if line.startswith("|---"))
    told = next(label for label in labels if label.startswith("padding, "))
    (loser,) = [choice for choice in facts["stages"][0]["choices"] if not choice["wins"]]
    assert f"{loser['label']} {loser['difference']:+.4f}" in told
    assert f"| {loser['label']} | {loser['difference']:+.4f} |" in markdown.partition("## The stages")[0]
    assert any("untuned defaults, validation" in label for label in labels)
    # another headline begins, as after a change of search.winner
    later = open_study(URL, "tiny/headline/later")
    store_study(later, asked=time.time(), points=["stage.candidate=winner"], seeds=[2001], choice=CANDIDATE)
    again, html, _ = report(folder)
    assert later.study_name not in {stage["study"] for stage in again["stages"]}  # the search has not noted it yet
    assert Page(html).text.count(("h2", "How the winner learned")) == 1
    assert (again["winner"], again["decisions"]) == (facts["winner"], facts["decisions"])
