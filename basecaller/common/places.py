"""Places of the program's own files."""

import os
from pathlib import Path


def conf_dir() -> str:
    """The folder of configs: the copy inside an installed wheel, or `conf/` of the checkout."""
    package = Path(__file__).resolve().parents[1]
    # A folder `conf` beside an installed package belongs to another package.
    installed, checkout = package / "conf", package.parent / "conf"
    return str(installed if installed.is_dir() else checkout)


def expanded(path: str) -> str:
    """A path with the home folder in place of a leading `~`, which shells leave alone inside `key=~/path`."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser fails where there is no home
