"""The data folder is its owner's alone: mode 0700, each of our files 0600, whether new or from an earlier version."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

OURS = ("*.db", "*.db-wal", "*.db-shm", "*.db-journal", "*.json", "*.lock", "*.sock", "admin-token")
PRIVATE = 0o700
FILE = 0o600


def private(folder: Path) -> Path:
    """Make the folder if it is not there, and close it and our files in it to everybody else. What belongs to another
    user, and a folder that everybody shares, such as /tmp, is left as it is: `others` tells of it."""
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    for path, mode in _too_open(folder):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # gone meanwhile, or another user's
            path.chmod(mode)
    return folder


def make(path: Path) -> None:
    """An empty file of the owner's alone, unless there is one: what SQLite makes beside it has the same mode."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE))


def others(folder: Path) -> list[Path]:
    """What of the folder others may read, write or enter."""
    return [path for path, _ in _too_open(folder, shared=True)]


def _too_open(folder: Path, shared: bool = False) -> Iterator[tuple[Path, int]]:
    with contextlib.suppress(FileNotFoundError):
        mode = folder.stat().st_mode
        if stat.S_IMODE(mode) & 0o077 and (shared or not mode & stat.S_ISVTX):
            yield folder, PRIVATE
    for path in (found for pattern in OURS for found in folder.glob(pattern)):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_mode & 0o077 and not path.is_symlink():
                yield path, FILE
