"""Where the program's own files lie."""

from pathlib import Path


def conf_dir() -> str:
    """The folder of configs: `conf/` of the checkout, or its copy inside an installed wheel."""
    package = Path(__file__).resolve().parent
    checkout, installed = package.parent / "conf", package / "conf"
    return str(checkout if (checkout / "config.yaml").is_file() else installed)
