"""Recording fakes of HubSpot and Salesforce: stateful, with their documented errors and limits, tokens and refreshes.

`answers` goes before the state: what is told there is said once, whatever was asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.receiver import Got, Receiver, Say

Obj = dict[str, Any]
BATCH = 100  # inputs that HubSpot takes at once


def said(status: int, body: Any = None, **headers: str) -> Say:
    payload = b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Say(status, payload, {"Content-Type": "application/json", **named})


@dataclass
class Service(Receiver):
    """tokens: access tokens that are good. refusal: what the token endpoint says instead of a token."""

    tokens: set[str] = field(default_factory=lambda: {"private"})
    refusal: Say | None = None
    refreshes: list[Mapping[str, str]] = field(default_factory=list)
    room: int | None = None  # requests left before 429 or its like
    rotates: bool = False  # whether a refresh hands out another refresh token

    lost: int = 0  # changes that are made, and whose answers are lost

    def take(self, got: Got) -> Say:
        say = super().take(got)
        if self.lost and got.method != "GET" and "token" not in got.path and not got.path.endswith("/search"):
            self.lost -= 1
            return Say(how="reset")
        return say

    def expire(self) -> None:
        self.tokens.clear()

    def token(self, got: Got, **more: Any) -> Say:
        form = {name: values[0] for name, values in parse_qs(got.body.decode()).items()}
        self.refreshes.append(form)
        if self.refusal:
            return self.refusal
        made = f"access-{len(self.refreshes)}"
        self.tokens.add(made)
        rotated = {"refresh_token": f"refresh-{len(self.refreshes)}"} if self.rotates else {}
        return said(200, {"access_token": made, "token_type": "bearer", **rotated, **more})

    def knows(self, got: Got) -> bool:
        return got.headers.get("authorization", "").removeprefix("Bearer ") in self.tokens

    def has_room(self) -> bool:
        if self.room is not None:
            self.room -= 1
        return self.room is None or self.room >= 0

    def asked(self, method: str, part: str = "") -> list[Got]:
        return [got for got in self.got if got.method == method and part in got.path]

    def sent(self, method: str, part: str = "") -> list[Any]:
        return [json.loads(got.body) for got in self.asked(method, part)]


# ---- HubSpot --------------------------------------------------------------------------------------------------------
ORDER = ("lead", "opportunity", "customer", "evangelist")  # of lifecycle stages


@dataclass
class FakeHubSpot(Service):
    """records: by kind and id. properties: that a task may have beside HubSpot's own."""

    records: dict[str, dict[str, Obj]] = field(default_factory=lambda: {"contacts": {}, "companies": {}, "tasks": {}})
    properties: set[str] = field(default_factory=lambda: {"signalbox_id"})

    def make(self, kind: str, **properties: str) -> str:
        id = str(100 + sum(len(found) for found in self.records.values()))
        self.records[kind][id] = {"id": id, "properties": dict(properties)}
        return id

    def answer(self, got: Got) -> Say:
        parts = urlsplit(got.path)
        if parts.path == "/oauth/v1/token":
            return self.token(got, expires_in=1800)
        if not self.knows(got):
            return self.error(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired.")
        if not self.has_room():
            told = {"status": "error", "message": "You have reached your ten_secondly_rolling limit.",
                    "category": "RATE_LIMITS", "policyName": "TEN_SECONDLY_ROLLING"}  # fmt: skip
            return said(429, told, Retry_After="10")
        _, _, _, _, kind, *rest = [unquote(part) for part in parts.path.split("/")]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return self._served(got.method, kind, rest, query, json.loads(got.body or b"{}"))

    def _served(self, method: str, kind: str, rest: list[str], query: Mapping[str, str], body: Obj) -> Say:
        if rest == ["batch", "upsert"]:
            return self._upsert(kind, body["inputs"])
        if rest == ["search"]:
            return self._search(kind, body["filterGroups"][0]["filters"][0])
        if method == "POST":
            return self._create(kind, body)
        if not rest:
            return said(200, {"results": list(self.records[kind].values())[:1]})
        record = self._found(kind, rest[0], query.get("idProperty"))
        if record is None:
            return self.error(404, "OBJECT_NOT_FOUND", f"Object not found. objectId are usually numeric. {rest[0]}")
        if method == "PATCH":
            self._change(record, body["properties"])
        return said(200, record)

    def _found(self, kind: str, id: str, property: str | None) -> Obj | None:
        if property is None:
            return self.records[kind].get(id)
        return next((one for one in self.records[kind].values() if one["properties"].get(property) == id), None)

    @staticmethod
    def _change(record: Obj, properties: Mapping[str, str]) -> None:
        """A lifecycle stage does not go backwards, unless it was cleared before."""
        for name, value in properties.items():
            now = record["properties"].get(name, "")
            if name == "lifecyclestage" and now in ORDER and value in ORDER and ORDER.index(value) < ORDER.index(now):
                continue
            record["properties"][name] = value

    def _upsert(self, kind: str, inputs: list[Obj]) -> Say:
        if len(inputs) > BATCH:
            return self.error(400, "VALIDATION_ERROR", f"The maximum batch size is {BATCH}.")
        results = []
        for one in inputs:
            if any("invalid" in value for value in one["properties"].values()):
                told = {"status": "error", "category": "VALIDATION_ERROR", "message": "Property values were not valid"}
                return said(207, {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [told]})
            record = self._found(kind, one["id"], one["idProperty"])
            new = record is None
            if record is None:
                record = self.records[kind][self.make(kind, **{one["idProperty"]: one["id"]})]
            self._change(record, one["properties"])
            results.append({**record, "new": new})
        return said(200, {"status": "COMPLETE", "results": results})

    def _search(self, kind: str, filter: Obj) -> Say:
        name = filter["propertyName"]
        if name not in self.properties:
            context = {"code": "PROPERTY_DOESNT_EXIST"}
            return self.error(400, "VALIDATION_ERROR", f"There was a problem: no property {name}.", errors=[context])
        found = [one for one in self.records[kind].values() if one["properties"].get(name) == filter["value"]]
        return said(200, {"total": len(found), "results": found})

    def _create(self, kind: str, body: Obj) -> Say:
        id = self.make(kind, **body["properties"])
        self.records[kind][id]["associations"] = body.get("associations", [])
        return said(201, {"id": id, "properties": body["properties"]})

    @staticmethod
    def error(status: int, category: str, message: str, **more: Any) -> Say:
        told = {"status": "error", "message": message, "category": category, "correlationId": "aeb5f871-7f07-4993-9211"}
        return said(status, told | more)


# ---- Salesforce -----------------------------------------------------------------------------------------------------
@dataclass
class FakeSalesforce(Service):
    """records: by object, external id field and value. fields: that records may have; all when empty."""

    records: dict[tuple[str, str, str], Obj] = field(default_factory=dict)
    fields: set[str] = field(default_factory=set)
    address: str = ""  # told as instance_url

    def answer(self, got: Got) -> Say:
        parts = urlsplit(got.path)
        if parts.path == "/services/oauth2/token":
            return self.token(got, instance_url=self.address, issued_at="1", signature="s")
        if not self.knows(got):
            return self.error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if not self.has_room():
            return self.error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        path = parts.path.split("/")[4:]
        if path == ["limits"]:
            return said(200, {"DailyApiRequests": {"Max": 100000, "Remaining": 99998}})
        if path[0] != "sobjects" or len(path) != 4:
            return self.error(404, "NOT_FOUND", "The requested resource does not exist")
        _, kind, name, value = (unquote(part) for part in path)
        return self._served(got, (kind, name, value), parse_qs(parts.query))

    def _served(self, got: Got, place: tuple[str, str, str], query: Mapping[str, list[str]]) -> Say:
        record = self.records.get(place)
        if got.method == "GET":
            names = query.get("fields", [""])[0].split(",")
            odd = [name for name in names if self.fields and name not in self.fields | {"Id"}]
            if odd:
                return self.error(400, "INVALID_FIELD", f"No such column '{odd[0]}' on entity '{place[0]}'.")
            if record is None:
                return self.error(404, "NOT_FOUND", "The requested resource does not exist")
            return said(200, {name: record.get(name) for name in names}, Sforce_Limit_Info="api-usage=2/100000")
        body = json.loads(got.body)
        if "invalid" in body.values():
            return self.error(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "It is not valid", fields=[])
        new = record is None
        record = self.records.setdefault(place, {"Id": f"{len(self.records):018}"})
        record.update(body)
        return said(201 if new else 200, {"id": record["Id"], "success": True, "errors": [], "created": new})

    @staticmethod
    def error(status: int, code: str, message: str, **more: Any) -> Say:
        return said(status, [{"message": message, "errorCode": code, **more}])
