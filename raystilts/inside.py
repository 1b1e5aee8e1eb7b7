"""Names and links that would lead out of the folder that they belong to."""

from __future__ import annotations

import os
import re
from pathlib import Path, PureWindowsPath


def leaves(name: str) -> bool:
    """Whether a file's name, joined to a folder, may lie outside of it: it is absolute, has `..`, or is no name at all.

    What only Windows takes for a path counts everywhere: a store made on one system is read on others.

    >>> leaves("predictions/sw.parquet"), leaves("../secrets"), leaves("C:/secrets")
    (False, True, True)
    """
    return not name or "\0" in name or name[0] in "/\\" or ".." in re.split(r"[/\\]", name) or bool(PureWindowsPath(name).drive)


def leads_outside(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is, or goes through, a symbolic link that leads out of it. The folder itself may be a link."""
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return real != root and not real.startswith(root.rstrip(os.sep) + os.sep)
