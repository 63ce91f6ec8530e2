"""Where the program's own files lie."""

from pathlib import Path


def conf_dir() -> str:
    """The folder of configs: the copy inside an installed wheel, or `conf/` of the checkout."""
    package = Path(__file__).resolve().parent
    # What lies beside an installed package is other packages' own: `conf` there would not be ours.
    installed, checkout = package / "conf", package.parent / "conf"
    return str(installed if installed.is_dir() else checkout)
