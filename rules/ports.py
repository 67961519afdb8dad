"""The ports: what the use cases need from the world, as protocols of one to six methods, and the values they pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, runtime_checkable

from rules.event import Event

Body = Mapping[str, Any]
Version = str  # opaque; whatever the store handed out with a document


class Unavailable(Exception):
    """The port could not make it durable or answer; nothing happened; try again later."""


class AlreadyProcessed(Exception):
    """The event is in the store: acknowledge and go on."""


class Conflict(Exception):
    """A document is not at the version that was read: read again and decide again."""


class TooLarge(ValueError):
    """A document, id or searched text is over what every backend can keep: the same on every try."""


class RefusedQuery(Exception):
    """No declared index serves this query (rules.kinds): declare it or ask otherwise."""


# ---- documents and writes -------------------------------------------------------------------------------------------
ANY: Final = "any"  # overwrite whatever is there
ABSENT: Final = "absent"  # create; Conflict when it exists


@dataclass(frozen=True, slots=True)
class Document:
    tenant: str
    kind: str
    id: str
    body: Body
    version: Version


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document. expect: the version that was read, or ABSENT, or ANY."""

    kind: str
    id: str
    body: Body
    expect: Version = ANY


@dataclass(frozen=True, slots=True)
class Delete:
    kind: str
    id: str
    expect: Version = ANY


Write = Put | Delete
Where = tuple[str, Literal["==", "has", "<", "<=", ">", ">="], Any]


@dataclass(frozen=True, slots=True)
class Page:
    """next: the cursor to pass as `after`, or None at the end."""

    items: tuple[Document, ...]
    next: str | None = None


class Store(Protocol):
    """Documents by tenant, kind and id, with optimistic versions; the event log; leases on what is due."""

    def get(self, tenant: str, kind: str, id: str) -> Document | None: ...

    def find(
        self,
        tenant: str,
        kind: str,
        where: Sequence[Where] = (),
        order: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        """order: a field, `-field` for descending; ties by id. Raises RefusedQuery for what rules.kinds lacks.
        Equality and `has` go on the query's leading fields, ranges on its order field only."""
        ...

    def count(self, tenant: str, kind: str, where: Sequence[Where] = (), most: int | None = None) -> int:
        """How many; most: no further than to this, where that is all one wants to know. A thousand counted is what one
        document read costs in Firestore."""
        ...

    def window(self, tenant: str, key: str, types: Sequence[str], since: int, until: int) -> list[Event]:
        """Recorded events of these types that carry this key, `since <= created <= until`, by (created, id)."""
        ...

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        """All or nothing. event: the Put of kind `event` (created; AlreadyProcessed when it exists), or None.
        Raises Conflict when any expectation fails, Unavailable when it could not be stored. At most 100 writes."""
        ...

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> list[Document]:
        """Due documents of a claimable kind, of every tenant, earliest first: those with `due_at` <= now.
        Each one's `due_at` moves to now + lease, so no other claimer gets it before then; the returned documents
        have the new version. Finishing = commit with that version and a new `due_at` (None: not due again)."""
        ...

    def share(self) -> float:
        """The part of what is due that this claimer takes: 1 where it is alone, a half where two live."""
        ...

    def batch(self) -> AbstractContextManager[None]:
        """Commits made inside may become durable together, at the end; each is still all or nothing by itself.
        Reads inside see them. Nothing may be acknowledged or performed before the end. Not re-entrant."""
        ...

    def wipe(self, tenant: str) -> None:
        """Remove everything of one tenant (sample data, tests)."""
        ...


# ---- bus and inbox --------------------------------------------------------------------------------------------------
class Bus(Protocol):
    def publish(self, event: Event) -> None:
        """Return when the event is durable; a duplicate is fine. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try at handing over an event. attempt counts from 1. published: when the bus had it, where that is known."""

    id: str
    event: Event
    attempt: int
    published: datetime | None = None


@dataclass(frozen=True, slots=True)
class Disposition:
    """What to do with a delivery: done (acknowledge), retry (after a back-off), dead (to the dead letters). waits: a
    retry that is no fault of the delivery, which is tried until it succeeds."""

    kind: Literal["done", "retry", "dead"]
    reason: str = ""
    waits: bool = False


DONE: Final = Disposition("done")


@dataclass(frozen=True, slots=True)
class DeadDelivery:
    """at: when it was given up. tenant: empty when it does not say whose it is."""

    id: str
    tenant: str
    event_id: str
    event_type: str
    reason: str
    attempts: int
    at: datetime


class Inbox(Protocol):
    """The consumer's side of the bus on one machine. At least once, unordered."""

    def drain(
        self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], now: datetime, limit: int = 256
    ) -> int:
        """Hand up to `limit` due deliveries to the handler as one batch, then settle each as it said; the number
        handed over. When the handler raises, each delivery is tried alone, and what raises again is a `retry`; but
        Unavailable rises: nothing is settled and no attempt counted."""
        ...

    def oldest(self) -> datetime | None:
        """When the oldest delivery that is not settled was published; None when all is settled."""
        ...

    def dead(self, limit: int = 100) -> list[DeadDelivery]: ...

    def replay(self, ids: Sequence[str], now: datetime) -> int:
        """Make dead deliveries due again; how many."""
        ...

    def discard(self, ids: Sequence[str]) -> int:
        """Let dead deliveries go for good, as if they had been done; how many."""
        ...


# ---- acting ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Outcome:
    """What an outside effect came to. kind: done; retry (later, same id); branch (a business result such as a
    declined card: the run goes on with it); person (needs one); dead (permanent). data: facts for later steps.
    request/response: what was sent and answered, free of secrets and personal values."""

    kind: Literal["done", "retry", "branch", "person", "dead"]
    message: str
    data: Body = field(default_factory=dict)
    after: timedelta | None = None
    request: Body = field(default_factory=dict)
    response: Body = field(default_factory=dict)
    pause_connection: bool = False

    @classmethod
    def done(cls, message: str, **more: Any) -> Outcome:
        return cls("done", message, **more)

    @classmethod
    def retry(cls, message: str, after: timedelta | None = None, **more: Any) -> Outcome:
        return cls("retry", message, after=after, **more)

    @classmethod
    def dead(cls, message: str, **more: Any) -> Outcome:
        return cls("dead", message, **more)


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of an action, for the editor's form and the check at authoring."""

    name: str
    label: str
    type: Literal["text", "choice", "number", "boolean", "connection", "price", "template"] = "text"
    required: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    help: str = ""


@dataclass(frozen=True, slots=True)
class Inverse:
    """What takes an effect back: another action with its parameters. says: the sentence when it is done, "The plan is
    price_pro again". The action reads the state first and overwrites nothing that somebody changed meanwhile: what the
    effect left behind belongs into params, and something else found there is a `person` outcome."""

    action: str
    params: Body
    says: str


class ActionExecutor(Protocol):
    """One action of a connector, such as `stripe.change_plan`. name, title (plain words), fields for the form.
    undo: plain words, what undoing it does, or "Cannot be undone: ..." with the reason."""

    name: str
    title: str
    fields: tuple[Field, ...]
    undo: str

    def preview(self, params: Body) -> Body:
        """The exact call that would be made; sends nothing."""
        ...

    def execute(self, command: Body, now: datetime) -> Outcome:
        """Do it once under the command's key. Outside answers become Outcomes; surprises rise."""
        ...


@runtime_checkable
class Reversible(Protocol):
    """An action that can be taken back, by an action of its own or another."""

    def inverse(self, command: Body) -> Inverse | None:
        """What takes this command back, from its body as it is settled: `params`, `subjects`, and `outcome["data"]`
        with the state before it. None when it changed nothing, or nothing that can be taken back. Asked once, when
        the command is settled (also of one whose answer was lost: then only what is really there is taken back)."""
        ...


@dataclass(frozen=True, slots=True)
class Ask:
    """An object to read again. kind: `invoice`. ends: by status, the event that tells of it and stops the run."""

    kind: str
    id: str
    ends: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """What was read again, in words; stop: why the run must not act, empty when it may."""

    says: str = ""
    stop: str = ""


class Guard(Protocol):
    def look(self, tenant: str, asked: Sequence[Ask]) -> Standing:
        """Read the objects as they are now. Raises Unavailable when nobody answers."""
        ...


# ---- small ones -----------------------------------------------------------------------------------------------------
class Clock(Protocol):
    def now(self) -> datetime: ...


class Refused(Exception):
    """Input that is not accepted; the message is safe to show and names the mend."""


class Unconfigured(Refused):
    """Nothing can be accepted before a setting is made; the message names it."""


class Unsigned(Refused):
    """Nobody who knows the secret has sent this."""


class Verifier(Protocol):
    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
        """The account that the matching signing secret was set for (`default`). Raises Refused (Unsigned when the
        signature is at fault, Unconfigured when there is no secret at all), never anything else."""
        ...


class Callers(Protocol):
    def check(self, authorization: str, audience: str) -> str:
        """The account that calls, from an Authorization header. audience: the address that was called. Raises Refused
        with what is wrong, Unavailable when it cannot be checked."""
        ...


class Forgetting(Protocol):
    """How a vault lets go of values. A barred subject keeps its tokens, and none of its values is kept any more."""

    def erase(self, tenant: str, subject: str) -> int:
        """Remove what is kept of a subject; how many values. One of somebody else, too, stays for them."""
        ...

    def kept(self, tenant: str, subject: str) -> tuple[int, int]:
        """How many values are kept of a subject, and how many of these of somebody else as well."""
        ...

    def bar(self, tenant: str, subjects: Sequence[str], barred: bool = True) -> None:
        """Keep nothing of these subjects from now on, or keep it again. Every process knows within `HEARD_WITHIN`."""
        ...

    def is_barred(self, tenant: str, subject: str) -> bool: ...

    def expiring(self, tenant: str, before: Mapping[str, int]) -> dict[str, int]:
        """How many values by sort were last heard before this day (days since 1970), by sort."""
        ...

    def expire(
        self, tenant: str, before: Mapping[str, int], after: str | None, most: int
    ) -> tuple[dict[str, int], str | None]:
        """Remove some of them, looking at `most` values from where the last call ended: how many by sort, and where
        to go on (None: that was all)."""
        ...


HEARD_WITHIN: Final = 10.0  # seconds in which a running process hears of an erasure or of a new key


class Vault(Forgetting, Protocol):
    """Personal values, encrypted, by deterministic tokens."""

    def tokenise(self, tenant: str, subject: str, values: Sequence[str], sorts: Sequence[str] = ()) -> list[str]:
        """The token of each value: the same value of a tenant has the same token for ever; an e-mail's token
        keeps its domain (`tok_...@acme.com`). Durable when the next publish of this process is. sorts: of each value
        (rules.personal_sorts), where they are known."""
        ...

    def flush(self) -> None:
        """Return when every value tokenised so far is durable, for what is not published. Raises Unavailable."""
        ...

    def reveal(self, tenant: str, token: str, actor: str, reason: str, on: str = "", subject: str = "") -> str | None:
        """The value; None when it is not kept (any more). Recorded first: who, what, why, and on which page or with
        which action (`on`). subject: whose it is, where that is known: of a barred one nothing is shown, though the
        same value be kept for somebody else."""
        ...


class Secrets(Protocol):
    def get(self, name: str) -> str | None: ...

    def put(self, name: str, value: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is by the word of an issuer. email: in lower case; empty when the issuer has not verified it."""

    issuer: str
    subject: str
    email: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that went off to the issuer at `url`; the rest stays with the browser until it comes back."""

    url: str
    state: str
    nonce: str
    verifier: str


class OpenId(Protocol):
    """An issuer of OpenID Connect. Both raise Unavailable when it does not answer."""

    name: str

    def begin(self, callback: str) -> Begun: ...

    def finish(self, callback: str, code: str, begun: Begun, now: datetime) -> Identity:
        """Raises Refused when what came back does not hold."""
        ...


class Front(Protocol):
    """What stands before this server and has signed people in."""

    def identity(self, assertion: str, now: datetime) -> Identity:
        """Raises Refused when the assertion does not hold, Unavailable when it cannot be checked."""
        ...


class Passwords(Protocol):
    @property
    def decoy(self) -> str:
        """The hash of a password that nobody has: what is checked where there is no account."""
        ...

    def hash(self, password: str) -> str: ...

    def holds(self, hash: str, password: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Span:
    """One station of a journey. Times are unix nanoseconds. parent: a span id or None. Kept in the store inside the
    documents it belongs to, and exported."""

    trace_id: str
    span_id: str
    parent: str | None
    name: str
    start: int
    end: int
    kind: Literal["server", "producer", "consumer", "internal", "client"] = "internal"
    attributes: Body = field(default_factory=dict)
    ok: bool = True


class Tracer(Protocol):
    def export(self, spans: Sequence[Span]) -> None:
        """Hand finished spans to the exporters; never blocks for long, never raises."""
        ...


class Meter(Protocol):
    """Both take a metric of app.observe.metering, cost a microsecond and never raise."""

    def add(self, metric: str, amount: int = 1, **attributes: str) -> None: ...

    def record(self, metric: str, value: float) -> None: ...
