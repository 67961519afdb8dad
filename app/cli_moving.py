"""The commands that move an installation: `export` writes all of it into a folder, `import` takes it back elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app import moving
from app.cli import CommandError, explained, say
from app.settings import Settings


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
        manifest = moving.export(kept, folder, _progress())
    return _said("Exported", manifest, folder)


def load(folder: Path, settings: Settings) -> int:
    from app import backends
    from app.adapters.keys import Keyring

    moving.manifest_of(folder)
    backends.adopt(settings, Keyring.from_text((folder / moving.KEYS).read_bytes()))
    with _opened(settings) as kept:
        manifest = moving.load(folder, kept, _progress())
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


def _progress() -> moving.Tell:
    counts: dict[str, int] = {}

    def tell(what: str, count: int) -> None:
        counts[what] = counts.get(what, 0) + count
        say(f"{what}: {counts[what]:,}")

    return tell


def _said(verb: str, manifest: dict[str, Any], folder: Path) -> int:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in manifest["counts"].items())
    say(f"{verb} and verified, {folder}: {counts or 'nothing'}. Digest {manifest['digest'][:16]}.")
    return 0
