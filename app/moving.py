"""Move an installation: all that store, vault and secrets keep, as a folder of files that every backend takes back.

Files hold up to 5,000 documents each and appear whole, so what was interrupted goes on where it was. The digest is a
sum over all documents, in whatever order a backend lists them; export and import both end by comparing it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

from app import tenants
from rules.kinds import MOVED, SYSTEM
from rules.ports import Conflict, Delete, Document, Put, Refused, Secrets, Store

FORMAT = 1
CHUNK = 5_000  # documents in a file
PAGE = 500
WRITES = 100  # in a commit
BYTES = 5_000_000  # in a commit, before it is packed; a request to Firestore has at most 10 MiB
MARK = "import-of-everything"  # the document that says an import is under way; itself never moved
PROGRESS_IN = "imported.json"
MANIFEST, PROGRESS, KEYS = "manifest.json", "progress.json", "keys.json"
BARRED = "barred.json"  # of whom the vault keeps nothing; an older export has none
_SUM = 1 << 256

ValueRow = tuple[str, str, str, str, bytes, str, int]  # tenant, token, subject, key id, sealed value, sort, day heard
Tell = Callable[[str, int], None]  # what is moved, and how many so far


class SealedValues(Protocol):
    """A vault whose values move as they are: sealed."""

    def rows(self) -> Iterator[ValueRow]: ...

    def take(self, rows: Sequence[ValueRow]) -> None: ...

    def every_barred(self) -> Iterator[tuple[str, str]]:
        """Tenant and subject of all of whom nothing is kept."""
        ...

    def bar(self, tenant: str, subjects: Sequence[str], barred: bool = True) -> None: ...


class NamedSecrets(Secrets, Protocol):
    def names(self) -> Iterable[str]: ...


class Seals(Protocol):
    """The keyring: secrets leave sealed with the keys that move along."""

    def to_text(self) -> str: ...

    def seal(self, context: str, value: str) -> tuple[str, bytes]: ...

    def open(self, key_id: str, context: str, sealed: bytes) -> str: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """What an installation keeps, on whatever backend."""

    store: Store
    vault: SealedValues
    secrets: NamedSecrets
    keys: Seals


@dataclass(slots=True)
class Sum:
    """How many documents of each kind, and the digest of all."""

    counts: dict[str, int] = field(default_factory=dict)
    value: int = 0

    def add(self, tenant: str, kind: str, id: str, body: Any) -> None:
        text = orjson.dumps([tenant, kind, id, body], option=orjson.OPT_SORT_KEYS)
        self.value = (self.value + int.from_bytes(hashlib.sha256(text).digest(), "big")) % _SUM
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def body(self) -> dict[str, Any]:
        return {"counts": dict(sorted(self.counts.items())), "digest": f"{self.value:064x}"}


def total(store: Store) -> int:
    """How many documents there are to move, to tell how far it is."""
    return sum(store.count(tenant, kind) for tenant in (SYSTEM, *tenants.every(store)) for kind in MOVED)


# ---- out ------------------------------------------------------------------------------------------------------------
def export(kept: Kept, folder: Path, tell: Tell = lambda what, count: None) -> dict[str, Any]:
    """Write everything, with the keys, without which nobody can read the values; the manifest. An interrupted
    export goes on. Raises Refused when what is there is another export, or when the store changed."""
    if (folder / MANIFEST).exists():
        return _finished(folder, kept.store)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(folder / KEYS, kept.keys.to_text().encode())
    progress = _read(folder / PROGRESS) or {"done": {}}
    for tenant in (SYSTEM, *tenants.every(kept.store)):
        for kind in MOVED:
            _export_kind(kept.store, tenant, kind, folder, progress, tell)
    _chunks(folder, "vault", (_value_line(row) for row in kept.vault.rows()), tell)
    _write(folder / BARRED, orjson.dumps(sorted(kept.vault.every_barred())))
    _chunks(folder, "secrets", (_secret_line(kept, name) for name in kept.secrets.names()), tell)
    written = _sum_of_files(folder)
    if written != summed(kept.store).body():
        raise Refused("The store changed meanwhile: stop the web and worker processes, delete the folder, do it again.")
    manifest = {"format": FORMAT, **written}
    _write(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return manifest


def _finished(folder: Path, store: Store) -> dict[str, Any]:
    """One that ended and was not heard of is done; of anything else the folder stays as it is."""
    manifest = manifest_of(folder)
    if not _is_all_of(manifest, summed(store)):
        raise Refused(f"{folder} holds a finished export of something else: choose another folder.")
    return manifest


def summed(store: Store) -> Sum:
    """The sum over everything a store keeps."""
    found = Sum()
    for tenant in (SYSTEM, *tenants.every(store)):
        for kind in MOVED:
            for document in _documents(store, tenant, kind):
                if document.id != MARK:
                    found.add(tenant, kind, document.id, document.body)
    return found


def _export_kind(store: Store, tenant: str, kind: str, folder: Path, progress: dict[str, Any], tell: Tell) -> None:
    """Files of one tenant's documents of one kind, from where the last export ended."""
    name = f"{_safe(tenant)}.{kind}"
    state = progress["done"].setdefault(name, {"files": 0, "after": None, "all": False})
    while not state["all"]:
        found: list[Document] = []
        after = state["after"]
        while len(found) < CHUNK:
            page = store.find(tenant, kind, after=after, limit=PAGE)
            found += page.items
            after = page.next
            if after is None:
                break
        if found:
            state["files"] += 1
            lines = [orjson.dumps({"tenant": tenant, "kind": kind, "id": d.id, "body": d.body}) for d in found]
            _write(folder / f"{name}.{state['files']:06}.jsonl.gz", gzip.compress(b"\n".join(lines), 5))
            tell(f"{kind} of {tenant}", len(found))
        state["after"], state["all"] = after, after is None
        _write(folder / PROGRESS, orjson.dumps(progress))


def _chunks(folder: Path, name: str, lines: Iterator[bytes], tell: Tell) -> None:
    """Small and quickly read: written anew each time."""
    number, rows = 0, []
    for line in lines:
        rows.append(line)
        if len(rows) == CHUNK:
            number += 1
            _write(folder / f"{name}.{number:06}.sealed.gz", gzip.compress(b"\n".join(rows), 5))
            tell(name, len(rows))
            rows = []
    if rows:
        _write(folder / f"{name}.{number + 1:06}.sealed.gz", gzip.compress(b"\n".join(rows), 5))
        tell(name, len(rows))


def _value_line(row: ValueRow) -> bytes:
    return orjson.dumps([*row[:4], base64.b64encode(row[4]).decode(), *row[5:]])


def _value_row(line: bytes) -> ValueRow:
    """An older export does not say of what sort a value is, nor when it was heard: since 1970."""
    tenant, token, subject, key, sealed, *more = orjson.loads(line)
    sort, heard = more or ("email" if "@" in token else "other", 0)
    return tenant, token, subject, key, base64.b64decode(sealed), sort, heard


def _secret_line(kept: Kept, name: str) -> bytes:
    key, sealed = kept.keys.seal(f"secret\n{name}", kept.secrets.get(name) or "")
    return orjson.dumps([name, key, base64.b64encode(sealed).decode()])


# ---- in -------------------------------------------------------------------------------------------------------------
def load(folder: Path, kept: Kept, tell: Tell = lambda what, count: None) -> dict[str, Any]:
    """Write a finished export into an installation that is empty, or in which this very import was interrupted; the
    manifest. Raises Refused when it is neither, or when what arrived is not what left."""
    manifest = manifest_of(folder)
    mark = kept.store.get(SYSTEM, "job", MARK)
    if mark is None or mark.body["digest"] != manifest["digest"]:
        there = summed(kept.store)
        if mark is None and there.counts and _is_all_of(manifest, there):
            return manifest  # it ended, and was not heard of
        if there.counts:
            raise Refused("This installation is not empty: an import never mixes two histories.")
    kept.store.commit(SYSTEM, None, [Put("job", MARK, _mark(manifest))])
    done = set((_read(folder / PROGRESS_IN) or {}).get(manifest["digest"], [])) if mark else set()
    for path in sorted(folder.glob("*.jsonl.gz")):
        if path.name not in done:
            _load_file(path, kept.store, tell)
            done.add(path.name)
            _write(folder / PROGRESS_IN, orjson.dumps({manifest["digest"]: sorted(done)}))
    barred: list[tuple[str, str]] = _read(folder / BARRED) or []
    for tenant in sorted({owner for owner, _ in barred}):
        kept.vault.bar(tenant, [subject for owner, subject in barred if owner == tenant])
    for path in sorted(folder.glob("vault.*.sealed.gz")):
        rows = [_value_row(line) for line in _lines(path)]
        kept.vault.take(rows)
        tell("vault", len(rows))
    for path in sorted(folder.glob("secrets.*.sealed.gz")):
        for name, key, sealed in map(orjson.loads, _lines(path)):
            kept.secrets.put(name, kept.keys.open(key, f"secret\n{name}", base64.b64decode(sealed)))
    _finish(kept.store, manifest)
    return manifest


def manifest_of(folder: Path) -> dict[str, Any]:
    """Raises Refused when the folder is no finished export."""
    manifest: dict[str, Any] | None = _read(folder / MANIFEST)
    if manifest is None:
        raise Refused(f"{folder} holds no finished export: {MANIFEST} is missing.")
    if manifest.get("format") != FORMAT:
        raise Refused(f"{folder} was written in format {manifest.get('format')}; this version reads {FORMAT}.")
    return manifest


def _mark(manifest: dict[str, Any]) -> dict[str, Any]:
    at = "1970-01-01T00:00:00.000000Z"
    return {"id": MARK, "type": "move", "created_at": at, "digest": manifest["digest"]}


def _finish(store: Store, manifest: dict[str, Any]) -> None:
    """The mark goes when what arrived is what left."""
    arrived = summed(store)
    if not _is_all_of(manifest, arrived):
        raise Refused(f"What arrived is not what left: {arrived.body()} instead of {manifest}.")
    store.commit(SYSTEM, None, [Delete("job", MARK)])


def _is_all_of(manifest: dict[str, Any], found: Sum) -> bool:
    body = found.body()
    return body == {name: manifest[name] for name in body}


def _load_file(path: Path, store: Store, tell: Tell) -> None:
    rows = [orjson.loads(line) for line in _lines(path)]
    for part in _parts(rows):
        _take(part, store)
    tell(f"{rows[0]['kind']} of {rows[0]['tenant']}", len(rows))


def _parts(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What one commit may hold: so many documents, and no more bytes than a request to Firestore may have."""
    part: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        more = len(orjson.dumps(row["body"]))
        if part and (len(part) == WRITES or size + more > BYTES):
            yield part
            part, size = [], 0
        part.append(row)
        size += more
    if part:
        yield part


def _take(rows: Sequence[dict[str, Any]], store: Store) -> None:
    """One commit of the same kind. Of what is only ever appended, an interrupted import may have written some."""
    tenant, puts = rows[0]["tenant"], [Put(row["kind"], row["id"], row["body"]) for row in rows]
    try:
        store.commit(tenant, None, puts)
    except Conflict:
        left = [put for put in puts if store.get(tenant, put.kind, put.id) is None]
        if left:
            store.commit(tenant, None, left)


# ---- files ----------------------------------------------------------------------------------------------------------
def _documents(store: Store, tenant: str, kind: str) -> Iterator[Document]:
    after = None
    while True:
        page = store.find(tenant, kind, after=after, limit=PAGE)
        yield from page.items
        after = page.next
        if after is None:
            return


def _sum_of_files(folder: Path) -> dict[str, Any]:
    found = Sum()
    for path in folder.glob("*.jsonl.gz"):
        for line in _lines(path):
            row = orjson.loads(line)
            found.add(row["tenant"], row["kind"], row["id"], row["body"])
    return found.body()


def _lines(path: Path) -> list[bytes]:
    return [line for line in gzip.decompress(path.read_bytes()).split(b"\n") if line]


def _read(path: Path) -> Any:
    return orjson.loads(path.read_bytes()) if path.exists() else None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}")
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _safe(tenant: str) -> str:
    """A file name for a tenant: readable, and no other's."""
    readable = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in tenant)
    return f"{readable}-{hashlib.sha256(tenant.encode()).hexdigest()[:8]}"
