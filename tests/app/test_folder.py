"""The data folder is its owner's alone, whoever makes it first and whatever it was before."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.doorbell import Bell
from app.adapters.folder import others, private
from app.services import build
from app.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """As most shells have it; the folder must not depend on it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in folder.iterdir()}


def test_a_new_folder_and_every_file_in_it_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    services = build(Settings(data=folder, backend="sqlite"))
    bell = Bell(folder / "worker.sock")
    services.vault.tokenise("default/test", "cus_1", ["Ada"])
    services.vault.flush()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = modes(folder)
    assert {"keys.json", "inbox.db", "inbox.db-wal", "store.db", "secrets.db", "worker.sock"} <= found.keys()
    assert {name: mode for name, mode in found.items() if mode & 0o077} == {}
    bell.close()
    services.close()


def test_a_folder_from_before_is_closed_when_it_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    build(Settings(data=folder, backend="sqlite")).close()
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    assert folder in others(folder)
    services = build(Settings(data=folder, backend="sqlite"))
    assert others(folder) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    services.close()


def test_a_command_leaves_nothing_open_either(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    environment = {**os.environ, "SIGNALBOX_DATA": str(folder)}
    subprocess.run([sys.executable, "main.py", "vault", "status"], cwd=ROOT, env=environment, check=True, timeout=60)
    assert {"inbox.db", "admin-token"} <= modes(folder).keys()
    assert others(folder) == []


def test_a_folder_that_everybody_shares_and_files_of_others_are_left_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "letter.txt").write_text("not ours")
    (shared / "inbox.db").write_text("")
    private(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert modes(shared) == {"letter.txt": 0o644, "inbox.db": 0o600}
    assert others(shared) == [shared]
