"""The site builds without a warning, needs no network, and has every key; the links of README.md lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import basecaller
from basecaller.cli.commands import COMMANDS
from basecaller.cli.keys import groups_of, keys_of

ROOT = Path(basecaller.__file__).parents[1]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]*src="([^"]+)"|<link[^>]*href="([^"]+)"', page.read_text(encoding="utf-8")
        )
        assert loaded
        assert not [url for url in map("".join, loaded) if url.startswith(("http", "//"))], page.name


def test_every_key_and_group_is_on_the_page_of_keys(site):
    page = (site / "keys.html").read_text(encoding="utf-8")
    for command in COMMANDS.values():
        groups = groups_of(command, [])
        sources = groups.get("data", ["simulated"])
        names = {key.name for source in sources for key in keys_of(command, source)}
        missing = [name for name in {*groups, *names} if f"<code>{name}</code>" not in page]
        assert not missing


def test_the_api_is_on_its_page(site):
    page = (site / "python.html").read_text(encoding="utf-8")
    assert not [
        name for name in basecaller.__all__ if f"<code>{name}</code>" not in page and f'id="basecaller.api.{name}"' not in page
    ]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_beside_the_pages_lead_somewhere(name):
    links = LINK.findall((ROOT / name).read_text(encoding="utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]
