"""The fake's memory: Stripe objects by id, the events that changes cause, and the table of routes that the API serves.

Shapes follow API version 2026-10-28.endive. What Stripe would compute elsewhere (taxes, mails, bank transfers) is left
out: a field that the fake does not maintain is absent or null, never wrong.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import stripe

Obj = dict[str, Any]
Params = Mapping[str, Any]


class StripeError(Exception):
    """An answer of Stripe that is no success: status, type, code, message and the rest of the `error` object.

    ran: execution had begun, so the answer is kept under the request's Idempotency-Key.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        type: str = "invalid_request_error",
        ran: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.ran = status, ran
        body = {"type": type, "message": message, "code": code, **more}
        self.body: Obj = {"error": {key: value for key, value in body.items() if value is not None}}


def missing(kind: str, id: str, param: str = "id") -> StripeError:
    return StripeError(404, f"No such {kind}: '{id}'", "resource_missing", param=param, ran=False)


def required(param: str) -> StripeError:
    return StripeError(400, f"Missing required param: {param}.", "parameter_missing", param=param, ran=False)


def need(params: Params, *names: str) -> None:
    for name in names:
        if params.get(name) in (None, ""):
            raise required(name)


@dataclass(frozen=True, slots=True)
class Request:
    """What caused an event: the request's id and the caller's Idempotency-Key."""

    id: str | None = None
    key: str | None = None


@dataclass
class Business:
    """One Stripe account in test mode. unknown: how to answer for an object that nobody created (None: 404)."""

    now: Callable[[], int] = lambda: int(time.time())
    seed: int | None = None
    objects: dict[str, Obj] = field(default_factory=dict)
    events: list[Obj] = field(default_factory=list)
    request: Request = Request()
    unknown: Callable[[Business, str, str], Obj | None] | None = None
    declines: dict[str, str] = field(default_factory=dict)  # payment method or customer id -> decline code

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def new_id(self, prefix: str, length: int = 24) -> str:
        letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"
        return f"{prefix}_" + "".join(self._random.choices(letters, k=length))

    def get(self, kind: str, id: Any, param: str = "id") -> Obj:
        """The live object itself (callers change it in place through `change`); 404 as Stripe words it."""
        found = self.objects.get(str(id))
        if found is None and self.unknown:
            found = self.unknown(self, kind, str(id))
        if found is None or found["object"] != kind or found.get("deleted"):
            raise missing(kind.replace("_", " ") if kind != "payment_method" else "PaymentMethod", str(id), param)
        return found

    def find(self, kind: str, **equal: Any) -> list[Obj]:
        return [
            obj
            for obj in self.objects.values()
            if obj["object"] == kind
            and not obj.get("deleted")
            and all(obj.get(name) == value for name, value in equal.items())
        ]

    def add(self, obj: Obj, *events: str) -> Obj:
        """Keep a new object and tell of it."""
        obj.setdefault("created", self.now())
        obj.setdefault("livemode", False)
        self.objects[obj["id"]] = obj
        for type_ in events:
            self.emit(type_, obj)
        return obj

    def change(self, obj: Obj, changes: Mapping[str, Any], *events: str) -> Obj:
        """Set fields; the events carry `previous_attributes` when their name ends in `.updated`."""
        before = copy.deepcopy(obj)
        obj.update(copy.deepcopy(dict(changes)))
        previous = difference(before, obj)
        for type_ in events:
            if not type_.endswith(".updated"):
                self.emit(type_, obj)
            elif previous:
                self.emit(type_, obj, previous)
        return obj

    def emit(self, type_: str, obj: Obj, previous: Obj | None = None) -> Obj:
        data: Obj = {"object": shown(obj)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": stripe.api_version,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": self.request.id, "idempotency_key": self.request.key},
            "type": type_,
        }
        self.events.append(event)
        return event

    def seed_from(self, envelopes: Iterable[Mapping[str, Any]]) -> int:
        """Take the objects of recorded events as they stand after the last one; emits nothing. How many objects."""
        kept = 0
        for envelope in envelopes:
            obj = copy.deepcopy(envelope["data"]["object"])
            known = self.objects.get(obj.get("id", ""))
            if "id" not in obj or (known and known.get("_as_of", 0) > envelope["created"]):
                continue
            kept += known is None
            self.objects[obj["id"]] = obj | {"_as_of": envelope["created"]}
            for price in _prices(obj):
                self.objects.setdefault(price["id"], copy.deepcopy(price))
        return kept


def _prices(obj: Obj) -> list[Obj]:
    if obj["object"] != "subscription":
        return []
    return [item["price"] for item in obj["items"]["data"]]


def shown(obj: Any) -> Any:
    """An object as it is answered: without the fake's own notes."""
    if isinstance(obj, Mapping):
        return {key: shown(value) for key, value in obj.items() if not key.startswith("_")}
    if isinstance(obj, list):
        return [shown(item) for item in obj]
    return obj


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Obj:
    """`previous_attributes`: only changed keys; of a hash only its changed keys, of a list all of it."""
    found: Obj = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new or name.startswith("_"):
            continue
        both = isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("object") != "list"
        found[name] = difference(old, new) if both else old  # type: ignore[arg-type]
    return found


def merged_metadata(obj: Obj, params: Params) -> Obj:
    """Metadata after an update: keys merge, an empty text removes its key, an empty text in whole removes all."""
    given = params.get("metadata")
    if given is None:
        return dict(obj.get("metadata", {}))
    if given == "":
        return {}
    joined = {**obj.get("metadata", {}), **given}
    return {key: value for key, value in joined.items() if value != ""}


def updated(business: Business, obj: Obj, params: Params, fields: str, event: str) -> Obj:
    """The usual update: the named fields as given ("" unsets), metadata merged, one `.updated` event."""
    names = [name for name in fields.split() if name in params]
    changes = {name: None if params[name] == "" else params[name] for name in names}
    if "metadata" in params:
        changes["metadata"] = merged_metadata(obj, params)
    return business.change(obj, changes, event)


def listing(items: list[Obj], params: Params, url: str, newest_first: bool = True) -> Obj:
    """One page as Stripe pages it: limit 1-100 (10), starting_after, ending_before, created ranges."""
    limit = int(params.get("limit", 10))
    if not 1 <= limit <= 100:
        raise StripeError(400, "This value must be between 1 and 100.", "parameter_invalid_integer", param="limit")
    items = [obj for obj in items if _created_fits(obj, params.get("created"))]
    if newest_first:
        items = items[::-1]
    if params.get("ending_before"):
        before = items[: _position(items, params["ending_before"])]
        return _page(before[-limit:], len(before) > limit, url)
    if params.get("starting_after"):
        items = items[_position(items, params["starting_after"]) + 1 :]
    return _page(items[:limit], len(items) > limit, url)


def _page(items: list[Obj], more: bool, url: str) -> Obj:
    return {"object": "list", "data": items, "has_more": more, "url": url}


def _position(items: list[Obj], id: str) -> int:
    for index, obj in enumerate(items):
        if obj["id"] == id:
            return index
    raise missing("object", id)


def _created_fits(obj: Obj, wanted: Any) -> bool:
    if wanted is None:
        return True
    if not isinstance(wanted, Mapping):
        return bool(obj["created"] == int(wanted))
    at = obj["created"]
    tests = {"gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    return all(tests[name](int(value)) for name, value in wanted.items())


# ---- routes ---------------------------------------------------------------------------------------------------------
Handler = Callable[..., Obj]


@dataclass(frozen=True, slots=True)
class Route:
    """params: the SDK's parameter class whose keys are accepted (None: any); also: older names that are, too."""

    method: str
    parts: tuple[str, ...]
    handler: Handler
    params: str | None
    also: frozenset[str]

    def accepted(self) -> frozenset[str] | None:
        if self.params is None:
            return None
        return frozenset(getattr(stripe.params, self.params).__annotations__) | self.also | {"expand"}

    def match(self, method: str, parts: list[str]) -> dict[str, str] | None:
        if method != self.method or len(parts) != len(self.parts):
            return None
        ids = {}
        for mine, given in zip(self.parts, parts, strict=True):
            if mine.startswith("{"):
                ids[mine.strip("{}")] = given
            elif mine != given:
                return None
        return ids


ROUTES: list[Route] = []


def route(method: str, path: str, params: str | None = None, also: str = "") -> Callable[[Handler], Handler]:
    """Serve `method path` with the handler, called as `handler(business, params, **ids of the path)`."""

    def register(handler: Handler) -> Handler:
        ROUTES.append(Route(method, tuple(path.strip("/").split("/")), handler, params, frozenset(also.split())))
        return handler

    return register


def readable(path: str, kind: str, filters: str = "") -> None:
    """Serve retrieve and list of a kind; filters: the fields that a list may be narrowed by."""
    names = filters.split()

    @route("GET", path)
    def list_(business: Business, params: Params) -> Obj:
        found = business.find(kind, **{name: params[name] for name in names if name in params})
        return listing(found, params, path)

    @route("GET", path + "/{id}")
    def retrieve(business: Business, params: Params, id: str) -> Obj:
        return business.get(kind, id)
