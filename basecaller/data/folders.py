"""Files below a folder, including those behind symbolic links."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path, ending: str) -> list[Path]:
    """All files below a folder with a given ending, sorted; each file once, however many links lead to it.

    Follows links to folders, which `Path.rglob` does not before Python 3.13, and enters no folder twice.

    Args:
        folder: folder to search.
        ending: ending in lower case, such as `.pod5`; upper case is found too.
    """
    found, entered = dict[Path, Path](), set[Path]()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders.sort()
        for name in sorted(names):
            # macOS writes `._reads.pod5` next to reads.pod5 on foreign disks: it holds no data
            if name.lower().endswith(ending) and not name.startswith("._"):
                path = Path(place, name)
                known = found.setdefault(path.resolve(), path)
                if known.is_symlink() and not path.is_symlink():
                    found[path.resolve()] = path
    return sorted(found.values())
