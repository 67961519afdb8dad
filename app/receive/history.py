"""Events that did not come by webhook: the last 30 days at connect, the gaps afterwards, and files.

All take the webhook's way from the parse on: personal values to the vault, then the bus. What is imported is history,
and no rule acts on it; what fills a gap is a webhook that came late, and rules act. Duplicates are harmless.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, cast

import orjson

from app import jobs
from app.jobs import JobFailed, Step, TryLater
from app.receive.webhook import LIMIT, Quarantine, check, check_depth, event_of, parse
from rules.conforming import shared
from rules.event import Event, instant, iso, seconds
from rules.ports import Bus, Document, Refused, Store, Unavailable, Vault

DAYS = 30  # how long Stripe keeps events
DAY = 86400
HOUR = timedelta(hours=1)
OVERLAP = 3600  # seconds a gap's search reaches back behind the last one's end: Stripe lists late
PAGES = 10  # of 100 events each that one step takes at most
TOGETHER = 16  # events published at once, so that they share commits
LISTED = 100  # refused lines that a report quotes
PIECE = 64 * 1024  # bytes of a compressed file that are read at once
XZ_MEMORY = 100 * 1024 * 1024  # bytes; `xz -9`, the most that anybody needs, takes 65 MB


class Lister(Protocol):
    """Stripe's list of events, newest first."""

    def page(self, since: int, until: int, after: str | None, undelivered: bool) -> tuple[list[dict[str, Any]], bool]:
        """Up to 100 events with `since <= created < until`, after this one in the list, and whether there are more.
        undelivered: only those that no endpoint has taken. Raises Unavailable, and Refused for a bad key."""
        ...


# ---- jobs: import and gap -------------------------------------------------------------------------------------------
def schedule(store: Store, tenant: str, now: datetime, started: bool = False) -> list[str]:
    """Ask for what is due: the import at connect, then a look for gaps every hour and at each start. The jobs' ids."""
    first = jobs.latest(store, tenant, "import")
    if first is None:
        return [start_import(store, tenant, now)]
    last = jobs.latest(store, tenant, "gap")
    pause = timedelta(minutes=1) if started else HOUR
    if last is not None and (last.body["state"] in jobs.OPEN or now - instant(last.body["created_at"]) < pause):
        return []
    since = last.body["params"]["until"] if last is not None else first.body["params"]["until"]
    return [start_gap(store, tenant, since - OVERLAP, now)]


def start_import(store: Store, tenant: str, now: datetime) -> str:
    """Import the last 30 days, up to now. The id of the job."""
    until = int(now.timestamp())
    return jobs.enqueue(store, tenant, "import", {"since": until - DAYS * DAY, "until": until}, now)


def start_gap(store: Store, tenant: str, since: int, now: datetime) -> str:
    """Fetch what was created since then and never delivered. The id of the job."""
    until = int(now.timestamp())
    return jobs.enqueue(store, tenant, "gap", {"since": max(since, until - DAYS * DAY), "until": until}, now)


def step(
    job: Document, now: datetime, lister: Lister, bus: Bus, vault: Vault, quarantine: Quarantine | None = None
) -> Step:
    """One slice of time of an import or gap job, oldest slice first. The slice shrinks where events are dense, so that
    each step is short and the cursor, the second up to which all is done, moves steadily. quarantine: takes what was
    never delivered and does not conform; history, on which no rule acts, comes as it is."""
    since, until = job.body["params"]["since"], job.body["params"]["until"]
    cursor = job.body.get("cursor") or {"at": since, "span": DAY}
    at, span = cursor["at"], cursor["span"]
    end = min(at + span, until)
    gap = job.body["type"] == "gap"
    found = _collect(lister, at, end, undelivered=gap)
    summary = dict(job.body.get("summary") or {})
    if found is None:
        return Step({"at": at, "span": max(span // 8, 1)}, _share(at, since, until), summary)
    account = job.tenant.split("/")[0]
    loaded = publish(found, bus, vault, now, account, "webhook" if gap else "import", quarantine if gap else None)
    summary = {**_added(summary, loaded), "seen_until": iso(seconds(end))}
    wider = min(span * 2, DAY) if len(found) < PAGES * 25 else span
    return Step({"at": end, "span": wider}, _share(end, since, until), summary, done=end >= until)


def _collect(lister: Lister, since: int, until: int, undelivered: bool) -> list[dict[str, Any]] | None:
    """All events of a slice, oldest first; None when they are too many for one step and the slice can shrink."""
    found: list[dict[str, Any]] = []
    pages, more = 0, since < until
    while more:
        if pages == PAGES and until - since > 1:
            return None
        try:
            events, more = lister.page(since, until, found[-1].get("id") if found else None, undelivered)
        except Unavailable as error:
            raise TryLater(str(error)) from error
        except Refused as error:
            raise JobFailed(str(error)) from error
        found.extend(events)
        more, pages = more and bool(events), pages + 1
    found.reverse()
    return found


def _share(at: int, since: int, until: int) -> float:
    return (at - since) / (until - since) if until > since else 1.0


def _added(summary: Mapping[str, Any], loaded: Loaded) -> dict[str, Any]:
    return {
        "events": summary.get("events", 0) + loaded.events,
        "refused": summary.get("refused", 0) + loaded.refused_count,
        "oldest": summary.get("oldest") or loaded.oldest,
        "newest": loaded.newest or summary.get("newest"),
    }


# ---- files and bodies -----------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Loaded:
    """What a load came to. refused: the first of them, `{"line", "problem"}`; oldest and newest: iso event times."""

    events: int = 0
    refused_count: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    oldest: str | None = None
    newest: str | None = None

    def refuse(self, line: int, problem: str) -> None:
        self.refused_count += 1
        if len(self.refused) < LISTED:
            self.refused.append({"line": line, "problem": problem})

    def add(self, events: Sequence[Event]) -> None:
        self.events += len(events)
        times = [iso(seconds(event.created)) for event in events]
        self.oldest = min([*times, *([self.oldest] if self.oldest else [])], default=None)
        self.newest = max([*times, *([self.newest] if self.newest else [])], default=None)


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a JSONL file, plain, .gz or .xz. Raises Refused when it cannot be read, or is cut off."""
    try:
        with path.open("rb") as plain, _opened(path, plain) as file:
            while line := file.readline(LIMIT + 1):
                yield line
                while len(line) > LIMIT and not line.endswith(b"\n"):  # one line without an end: say it once
                    line = file.readline(LIMIT + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def _opened(path: Path, file: IO[bytes]) -> IO[bytes]:
    """The file's own bytes: of a compressed one a piece at a time, within bounded memory."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    return cast(IO[bytes], io.BufferedReader(_Xz(file))) if path.suffix == ".xz" else file


class _Xz(io.RawIOBase):
    """The bytes of an .xz file. `lzma.open` would let the file say how much memory is taken: up to 4 GB."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self._one = file, self._fresh()

    def _fresh(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            given = self._file.read(PIECE) if self._one.needs_input or self._one.eof else b""
            if self._one.eof:  # several may follow one another, with zeros between them
                read, given = given, (self._one.unused_data + given).lstrip(b"\0")
                if not given and not read:
                    return 0
                self._one = self._fresh()
            elif not given and self._one.needs_input:
                raise EOFError("it ends in the middle")
            if found := self._one.decompress(given, len(buffer)):
                buffer[: len(found)] = found
                return len(found)


def load(
    lines: Iterable[bytes],
    bus: Bus,
    vault: Vault,
    now: datetime,
    account: str = "default",
    source: str = "import",
    progress: Callable[[Loaded], None] = lambda loaded: None,
) -> Loaded:
    """Publish the events of JSON lines, as history unless `source` says webhook. Lines that are no event are reported
    and passed over. progress: told after every few hundred lines. Raises Unavailable."""
    loaded = Loaded()
    numbered = enumerate(lines, start=1)
    with ThreadPoolExecutor(TOGETHER) as pool:
        while chunk := list(islice(numbered, 256)):
            events = [
                event for event in (_event(n, line, vault, now, account, source, loaded) for n, line in chunk) if event
            ]
            list(pool.map(bus.publish, events))
            loaded.add(events)
            progress(loaded)
    return loaded


def _event(
    number: int, line: bytes, vault: Vault, now: datetime, account: str, source: str, loaded: Loaded
) -> Event | None:
    if not line.strip():
        return None
    try:
        if len(line) > LIMIT:
            raise Refused(f"The line is longer than {LIMIT} bytes.")
        envelope = parse(line)
        check_depth(envelope)
        return event_of(envelope, account, vault, now, source=source)
    except Refused as error:
        loaded.refuse(number, str(error))
        return None


def publish(
    envelopes: Sequence[dict[str, Any]],
    bus: Bus,
    vault: Vault,
    now: datetime,
    account: str,
    source: str,
    quarantine: Quarantine | None = None,
) -> Loaded:
    """Publish events that Stripe listed, oldest first. Raises Unavailable."""
    loaded = Loaded()
    events: list[Event] = []
    for number, envelope in enumerate(envelopes, start=1):
        try:
            check(envelope)
            check_depth(envelope)
            if quarantine and (faults := shared().faults(envelope)):
                quarantine(envelope, account, orjson.dumps(envelope), faults, now)
                loaded.refuse(number, f"quarantined: {faults[0].path} {faults[0].problem}")
                continue
            events.append(event_of(envelope, account, vault, now, source=source))
        except Refused as error:
            loaded.refuse(number, str(error))
    events.sort(key=lambda event: (event.created, event.id))
    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(bus.publish, events))
    loaded.add(events)
    return loaded
