"""The commands that move an installation: `export` writes all of it into a folder, `import` takes it back elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import moving
from app.cli.commands import CommandError, explained, say
from app.settings import Settings
from rules.ports import Refused

WIDE = 20  # letters of the bar
BESIDE = ("vault", "secrets")


def register(subparsers: Any) -> None:
    _command(
        subparsers,
        "export",
        "write everything that this installation keeps into a folder: a backup, or to move it to another backend",
        "Stop the web and worker processes first. The folder then holds the keys of the vault as well: keep it as you"
        " keep the data itself.",
        export,
    )
    _command(
        subparsers,
        "import",
        "take back what `export` wrote, into an installation that is empty",
        "Verified by its digest; what was interrupted goes on when it is done again.",
        load,
    )


def _command(subparsers: Any, name: str, help: str, more: str, run: Any) -> None:
    parser = subparsers.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}. {more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"examples:\n  python main.py {name} backup-2026-11-23",
    )
    parser.add_argument("folder", type=Path)
    parser.set_defaults(run=lambda given, settings: explained(lambda: run(given.folder, settings)))


def export(folder: Path, settings: Settings) -> int:
    with _opened(settings) as kept:
        manifest = moving.export(kept, folder, Bar(moving.total(kept.store), sys.stdout.isatty()))
    return _said("Exported", manifest, folder)


def load(folder: Path, settings: Settings) -> int:
    from app import backends
    from app.adapters.keys import Keyring
    from app.adapters.read_only import SAYS

    if settings.read_only:
        raise Refused(SAYS)
    total = sum(moving.manifest_of(folder)["counts"].values())
    backends.adopt(settings, Keyring.from_text((folder / moving.KEYS).read_bytes()))
    with _opened(settings) as kept:
        manifest = moving.load(folder, kept, Bar(total, sys.stdout.isatty()))
    return _said("Imported", manifest, folder)


@contextmanager
def _opened(settings: Settings) -> Iterator[Any]:
    """What this installation keeps, with nobody else at it. The queue does not move, so nothing may wait in it."""
    from app import backends
    from app.adapters.clock import SystemClock
    from app.adapters.lock import FolderLock

    clock = SystemClock()
    lock = FolderLock(settings.data / "ingest.lock", "receives into")
    if settings.backend == "sqlite":
        lock.hold()
        backend = backends.on_sqlite(settings, clock)
        backend.inbox.hold(clock.now())  # type: ignore[attr-defined]
    else:
        backend = backends.on_google(settings, clock, "move")
    try:
        if backend.inbox.oldest() is not None:
            raise CommandError("Events wait in the queue: let `python main.py tick` handle them first.")
        yield moving.Kept(backend.store, backend.vault, backend.secrets, backend.keys)  # type: ignore[arg-type]
    finally:
        for close in backend.closers:
            close()
        lock.close()


@dataclass(slots=True)
class Bar:
    """Tells how far it is: one line that grows on a terminal, else a line for each file. What was moved before an
    interruption is not counted again, so the last line says what this time brought."""

    total: int
    on_terminal: bool
    moved: int = 0
    said: int = 0

    def __call__(self, what: str, count: int) -> None:
        if what not in BESIDE:  # values and secrets are no documents
            self.moved += count
        line = self.line(what)
        if not self.on_terminal:
            say(line)
            return
        say(f"\r{line:<{self.said}}", end="")
        self.said = len(line)
        if self.moved >= self.total:
            say()
            self.said = 0

    def line(self, what: str) -> str:
        """`[#####.....]  50 %  1,000 of 2,000: event of default/test`."""
        share = min(self.moved / self.total, 1.0) if self.total else 1.0
        filled = int(share * WIDE)
        return f"[{'#' * filled:.<{WIDE}}] {share:>4.0%}  {self.moved:,} of {self.total:,}: {what}"


def _said(verb: str, manifest: dict[str, Any], folder: Path) -> int:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in manifest["counts"].items())
    say(f"{verb} and verified, {folder}: {counts or 'nothing'}. Digest {manifest['digest'][:16]}.")
    return 0
