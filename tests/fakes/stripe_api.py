"""A small stateful Stripe: `python -m tests.fakes.stripe_api --port N`, or `with FakeStripe().running() as base:`.

It speaks Stripe's forms, errors, paging and Idempotency-Key as documented, keeps what it was told, and makes the
events that changes cause. Faults can be planted; every request is kept for the test to read. The kinds are in the
modules beside it. Judged by Stripe's own command-line tool in tests/app/test_fake_stripe_cli.py.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from app.supervise import end_with_parent
from tests.fakes import stripe_catalog, stripe_invoices, stripe_payments, stripe_subscriptions
from tests.fakes.stripe_state import ROUTES, Business, Obj, Params, Request, StripeError, listing, route, shown

NUMBER = re.compile(r"-?\d{1,15}")
TEXT_FIELDS = {"metadata", "description", "name", "display_name", "nickname", "postal_code", "phone", "memo", "comment"}
MODULES = (stripe_catalog, stripe_invoices, stripe_payments, stripe_subscriptions)  # importing them fills ROUTES


# ---- forms ----------------------------------------------------------------------------------------------------------
def form(pairs: Iterable[tuple[str, str]]) -> Obj:
    """Stripe's form encoding: `items[0][price]=p`, `expand[]=a`, `metadata[k]=v`; numbers and booleans typed."""
    tree: Obj = {}
    for name, value in pairs:
        keys = [name.split("[", 1)[0], *re.findall(r"\[([^\]]*)\]", name)]
        node = tree
        for key, following in pairwise(keys):
            node = node.setdefault(key or str(len(node)), {})
            if not isinstance(node, dict):
                raise StripeError(400, f"Invalid parameter: {name}", "parameter_invalid", param=name, ran=False)
            if following == "":
                node.setdefault("_list", True)
        node[keys[-1] or str(len(node))] = _typed(keys, value)
    return {key: _lists(value) for key, value in tree.items()}


def _typed(keys: list[str], value: str) -> Any:
    if TEXT_FIELDS & set(keys):
        return value
    if value in ("true", "false"):
        return value == "true"
    return int(value) if NUMBER.fullmatch(value) else value


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    marked = node.pop("_list", False)
    if node and (marked or all(key.isdigit() for key in node)):
        return [_lists(value) for value in node.values()]
    return {key: _lists(value) for key, value in node.items()}


# ---- faults and the log ---------------------------------------------------------------------------------------------
Kind = Literal[
    "500", "500 stored", "500 after", "503", "429", "lock_timeout", "409", "424", "401", "403",
    "reset", "reset after", "half", "hang",
]  # fmt: skip
PLAIN: dict[str, tuple[int, Obj]] = {
    "500": (500, {"type": "api_error", "message": "An error occurred with our connection to the database."}),
    "503": (503, {"type": "api_error", "message": "Stripe is temporarily unavailable."}),
    "429": (429, {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests hit the API."}),
    "lock_timeout": (429, {"type": "invalid_request_error", "code": "lock_timeout", "message": "Object is locked."}),
    "409": (409, {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": "The key is in use."}),
    "424": (424, {"type": "api_error", "code": "external_dependency_failed", "message": "A dependency failed."}),
    "401": (401, {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_test_***"}),
    "403": (403, {"type": "invalid_request_error", "message": "This API key lacks the permission."}),
}


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method whose path starts so. `500 stored`: nothing is done,
    but the answer is kept under the key. `500 after`: it is done, and the 500 kept. `reset after`: done, no answer."""

    kind: Kind
    path: str = "/v1/"
    method: str = "POST"
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Logged:
    method: str
    path: str
    params: Obj
    key: str | None
    status: int
    replayed: bool
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """status 0: no answer at all; the connection is dropped."""

    status: int
    body: Obj
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False  # send half of the body
    wait: float = 0.0  # hang so long before answering


@dataclass
class _Kept:
    print: str
    answer: Answer | None = None  # None: the first request is still running


# ---- the API --------------------------------------------------------------------------------------------------------
@dataclass
class FakeStripe:
    """The API over one business. sample: answer for subscriptions, customers and prices that nobody created."""

    now: Callable[[], int] = lambda: int(time.time())
    seed: int | None = None
    sample: bool = False
    strict_keys: bool = True  # refuse keys that are no test or live key of Stripe's

    def __post_init__(self) -> None:
        self.business = Business(self.now, self.seed)
        self.business.unknown = stripe_subscriptions.imagined if self.sample else None
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self._keys: dict[str, _Kept] = {}
        self._lock = threading.RLock()

    def requests(self, method: str = "POST", path: str = "/v1/") -> list[Logged]:
        return [entry for entry in self.log if entry.method == method and entry.path.startswith(path)]

    def forget_keys(self) -> None:
        """As Stripe does after 24 hours at the earliest."""
        with self._lock:
            self._keys.clear()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one request; headers by lower-case name."""
        parts = urlsplit(target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        key = headers.get("idempotency-key") if method in ("POST", "DELETE") else None
        try:
            params = form(pairs)
            fault = self._fault(method, parts.path)
            answer = self._with_key(method, parts.path, params, key, headers, fault)
        except StripeError as error:
            params, answer = {}, Answer(error.status, error.body)
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        self.log.append(Logged(method, parts.path, params, key, answer.status, replayed, dict(headers)))
        return answer

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and path.startswith(fault.path):
                    fault.times -= 1
                    return fault
        return None

    def _with_key(
        self, method: str, path: str, params: Obj, key: str | None, headers: Mapping[str, str], fault: Fault | None
    ) -> Answer:
        """Idempotency as documented: https://docs.stripe.com/api/idempotent_requests."""
        if key is None:
            return self._run(method, path, params, key, headers, fault)[0]
        if len(key) > 255:
            raise StripeError(400, "Idempotency keys are at most 255 characters.", type="idempotency_error")
        print_ = json.dumps([method, path, params], sort_keys=True)
        with self._lock:
            kept = self._keys.get(key)
            if kept is None:
                kept = self._keys[key] = _Kept(print_)
            else:
                return _replayed(kept, print_, key)
        answer, ran = self._run(method, path, params, key, headers, fault)
        with self._lock:
            if ran:
                kept.answer = Answer(answer.status or 200, answer.body)
            else:
                self._keys.pop(key, None)
        return answer

    def _run(
        self, method: str, path: str, params: Obj, key: str | None, headers: Mapping[str, str], fault: Fault | None
    ) -> tuple[Answer, bool]:
        """The answer, and whether execution had begun, so that it is kept under the key."""
        kind = fault.kind if fault else None
        if fault and kind in PLAIN:
            status, error = PLAIN[fault.kind]
            return Answer(status, {"error": error}, fault.headers), False
        if fault and kind == "500 stored":
            return Answer(500, {"error": PLAIN["500"][1]}), True
        if kind == "reset":
            return Answer(0, {}), False
        answer, ran = self._serve(method, path, params, key, headers)
        if fault and kind == "500 after":
            return Answer(500, {"error": PLAIN["500"][1]}), True
        if kind == "reset after":
            return Answer(0, answer.body), ran
        if fault and kind in ("half", "hang"):
            return Answer(answer.status, answer.body, {}, kind == "half", fault.seconds if kind == "hang" else 0), ran
        return answer, ran

    def _serve(
        self, method: str, path: str, params: Obj, key: str | None, headers: Mapping[str, str]
    ) -> tuple[Answer, bool]:
        with self._lock:
            request = self.business.new_id("req", 14)
            self.business.request = Request(request, key)
            try:
                self._check_api_key(headers)
                return Answer(200, self._handle(method, path, params), {"Request-Id": request}), True
            except StripeError as error:
                return Answer(error.status, shown(error.body), {"Request-Id": request}), error.ran

    def _check_api_key(self, headers: Mapping[str, str]) -> None:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not re.fullmatch(r"(sk|rk)_(test|live)_\w+", given) and self.strict_keys:
            raise StripeError(401, "You did not provide an API key.", ran=False)

    def _handle(self, method: str, path: str, params: Obj) -> Obj:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        for known in ROUTES:
            ids = known.match(method, parts)
            if ids is None:
                continue
            accepted = known.accepted()
            for name in params:
                if accepted is not None and name not in accepted:
                    message = f"Received unknown parameter: {name}"
                    raise StripeError(400, message, "parameter_unknown", param=name, ran=False)
            expand = params.get("expand", [])
            answer = known.handler(self.business, {k: v for k, v in params.items() if k != "expand"}, **ids)
            return self._expanded(shown(answer), expand)
        raise StripeError(404, f"Unrecognized request URL ({method}: {path}).", ran=False)

    def _expanded(self, obj: Obj, paths: list[str]) -> Obj:
        for path in paths:
            _expand(self.business, obj, path.split("."))
        return obj

    @contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """Serve in a thread; the base address."""
        with serving(self, port) as server:
            yield f"http://127.0.0.1:{server.server_port}"


def _replayed(kept: _Kept, print_: str, key: str) -> Answer:
    if kept.print != print_:
        message = (
            f"Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{key}' if you meant to execute a different request."
        )
        raise StripeError(400, message, type="idempotency_error")
    if kept.answer is None:
        raise StripeError(409, PLAIN["409"][1]["message"], "idempotency_key_in_use", type="idempotency_error")
    return Answer(kept.answer.status, kept.answer.body, {"Idempotent-Replayed": "true"})


def _expand(business: Business, node: Any, keys: list[str]) -> None:
    if isinstance(node, list):
        for item in node:
            _expand(business, item, keys)
        return
    if not keys or not isinstance(node, dict):
        return
    value = node.get(keys[0])
    if isinstance(value, str) and value in business.objects:
        node[keys[0]] = value = shown(business.objects[value])
    _expand(business, value, keys[1:])


# ---- events ---------------------------------------------------------------------------------------------------------
@route("GET", "/v1/events")
def list_events(business: Business, params: Params) -> Obj:
    types = params.get("types") or ([params["type"]] if "type" in params else [])
    if len(types) > 20:
        raise StripeError(400, "You may pass at most 20 types.", param="types")
    patterns = [re.compile(re.escape(name).replace(r"\*", ".*")) for name in types]
    found = [event for event in business.events if not patterns or any(p.fullmatch(event["type"]) for p in patterns)]
    if "delivery_success" in params:
        found = [event for event in found if (event["pending_webhooks"] == 0) is bool(params["delivery_success"])]
    return listing(found, params, "/v1/events")


@route("GET", "/v1/events/{id}")
def retrieve_event(business: Business, params: Params, id: str) -> Obj:
    for event in business.events:
        if event["id"] == id:
            return event
    raise StripeError(404, f"No such event: '{id}'", "resource_missing", param="id", ran=False)


# ---- over HTTP ------------------------------------------------------------------------------------------------------
class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.fake.answer(self.command, self.path, headers, body)
        if answer.wait:
            self.server.ending.wait(answer.wait)
        if answer.status == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        payload = json.dumps(answer.body, indent=2).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload[: len(payload) // 2] if answer.cut else payload)
        self.close_connection = self.close_connection or answer.cut

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the log is in memory."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fake: FakeStripe, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.fake = fake
        self.ending = threading.Event()


@contextmanager
def serving(fake: FakeStripe, port: int = 0) -> Iterator[_Server]:
    server = _Server(fake, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()


def read_envelopes(path: Path) -> Iterator[Obj]:
    """Events of a `.jsonl`, `.jsonl.gz` or `.jsonl.xz` file."""
    opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=12111)
    parser.add_argument("--sample", action="store_true", help="answer for objects that nobody created")
    parser.add_argument(
        "--seed", type=Path, help="file of event envelopes whose objects and events exist from the start"
    )
    given = parser.parse_args()
    end_with_parent()
    fake = FakeStripe(sample=given.sample)
    if given.seed:
        envelopes = list(read_envelopes(given.seed))
        fake.business.seed_from(envelopes)
        fake.business.events.extend(envelopes)
    with serving(fake, given.port) as server:
        print(f"fake Stripe on http://127.0.0.1:{server.server_port}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
