"""The program behind a result: its versions and its commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from basecaller import __version__

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of this program."""

PACKAGES = ("torch", "hydra-core", "optuna", "numpy")

POINTERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
"""Variables that point git to another repository; git sets them for a hook that starts this program."""

GIT_TIMEOUT = 30.0
"""Seconds; on a slow file system git may take long to find changed files."""


@cache
def versions() -> dict[str, str]:
    """Versions of Python, this program, and the most important packages."""
    return {"python": platform.python_version(), "basecaller": __version__} | {p: version(p) for p in PACKAGES}


@cache
def commit(package: Path = PACKAGE) -> str | None:
    """The commit of the checkout that a package lies in, as `git describe` gives it.

    Args:
        package: folder of the package.
    Returns:
        None if git is missing, or the package is installed: a repository around an installation is not the program's own.
    """
    root = package.parent
    if _git(root, "rev-parse", "--show-toplevel") != str(root):
        return None
    if not _git(root, "ls-files", "--", f"{package.name}/__init__.py"):
        return None
    return _git(root, "describe", "--always", "--dirty")


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git; None if it fails or is missing."""
    environment = {key: value for key, value in os.environ.items() if key not in POINTERS}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=True,
            timeout=GIT_TIMEOUT,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
