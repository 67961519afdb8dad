"""One conversation with a CRM's JSON API on behalf of a command: tokens, personal values, answers and what is kept.

What a service means by an answer is its own module's; this one knows the way there and back. A token that the service
takes no more is refreshed once in a conversation.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

from app.connectors.delivery import Courier, Forbidden, Reply, Undelivered
from app.connectors.oauth import Access, Refused, Tokens
from app.connectors.params import remembering, time_of
from app.connectors.personal import TOKEN, connection_of, masked, revealed
from rules.ports import Body, Outcome, Secrets, Vault

SHOWN = 600  # characters of an error's text that are kept
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
# what a CRM's record knows of a person; kept as tokens where it is kept as the value before
PERSONAL = re.compile(
    r"mail|name|phone|mobile|fax|address|street|city|zip|postal|birth|title|website|domain|twitter", re.I
)


class Settled(Exception):
    """The command is settled, with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Api:
    """The ports that every conversation shares."""

    courier: Courier
    secrets: Secrets
    vault: Vault
    tokens: Tokens

    @classmethod
    def over(cls, courier: Courier, secrets: Secrets, vault: Vault) -> Api:
        return cls(courier, secrets, vault, Tokens(courier, secrets))


@dataclass(frozen=True, slots=True)
class Service:
    """base, token_url: addresses, by connection. meaning: what an answer that is no success comes to."""

    base: Callable[[Body, Access], str]
    token_url: Callable[[Body], str]
    meaning: Callable[[Reply, str, datetime], Outcome]


@dataclass
class Talk:
    """request, response: the last exchange that changed something, as it may be kept."""

    api: Api
    service: Service
    task: Body
    connection: Body
    now: datetime
    known: dict[str, Any] = field(default_factory=dict)  # for an undo, should the answer to what follows be lost
    request: dict[str, Any] = field(default_factory=dict)
    response: dict[str, Any] = field(default_factory=dict)
    _clear: list[str] = field(default_factory=list)  # personal values that were sent, so that no echo is kept

    def ask(
        self, method: str, path: str, body: Any = None, also: Iterable[int] = (), key: str = "", once: bool = False
    ) -> tuple[int, Any]:
        """One exchange: status and JSON. key: stands quoted where the path says {key}. also: statuses that are no
        success, and expected. once: it must not arrive twice. Raises Settled."""
        access = self._access()
        reply = self._sent(access, method, (path, key), body, once)
        if reply.status == 401:
            reply = self._sent(self._access(access.token), method, (path, key), body, once)
        self._keep(method, path.replace("{key}", quote(key, safe="")), body, reply)
        if 200 <= reply.status < 300 or reply.status in also:
            return reply.status, parsed(reply.body)
        raise Settled(self._kept(self.service.meaning(reply, self.connection["name"], self.now)))

    def _access(self, stale: str = "") -> Access:
        try:
            return self.api.tokens.get(self.connection, self.service.token_url(self.connection), self.now, stale)
        except Refused as refused:
            raise Settled(self._kept(refused.outcome)) from refused

    def _sent(self, access: Access, method: str, place: tuple[str, str], body: Any, once: bool) -> Reply:
        headers = {"Authorization": f"Bearer {access.token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        payload = b"" if body is None else json.dumps(self._revealed(body), separators=(",", ":")).encode()
        path, key = place
        url = self.service.base(self.connection, access) + path.replace("{key}", quote(self._revealed(key), safe=""))
        try:
            return self.api.courier.send(method, url, headers, payload, once)
        except Forbidden as error:
            raise Settled(self._kept(Outcome.retry(f"Not sent: {error}.", pause_connection=True))) from error
        except Undelivered as error:
            self._keep(method, path.replace("{key}", quote(key, safe="")), body, None)
            raise Settled(self._kept(Outcome.retry(f"No answer from {self.connection['name']}: {error}."))) from error

    def remember(self, **known: Any) -> None:
        """What an undo needs, before the change that follows: its answer may be lost, or this process may die."""
        self.known = known
        if "remember" in self.task:
            self.task["remember"](known)

    # ---- personal values --------------------------------------------------------------------------------------------
    def _revealed(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._revealed(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._revealed(part) for part in value]
        if not isinstance(value, str) or not TOKEN.search(value):
            return value
        reason = f"{self.task['action']} {self.task['id']} over {self.connection['name']}"
        clear = revealed(value, self.api.vault, self.task, reason)
        if clear != value:
            self._clear.append(clear)
        return clear

    def hidden(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values read from the service or typed into the step, with tokens for what is personal in them."""
        found = {}
        for name, value in values.items():
            clear = isinstance(value, str) and value and not TOKEN.fullmatch(value)
            personal = clear and (PERSONAL.search(name) or masked(value) != value)
            found[name] = self._token(value) if personal else value
        return found

    def _token(self, value: str) -> str:
        subject = self.task["customer"] or f"run:{self.task['run_id']}"
        return self.api.vault.tokenise(self.task["tenant"], subject, [value])[0]

    # ---- what is kept -----------------------------------------------------------------------------------------------
    def _keep(self, method: str, path: str, body: Any, reply: Reply | None) -> None:
        shown = {"body": body} if body is not None else {}
        self.request = {"method": method, "url": masked(path), "headers": {}, **_masked(shown)}
        self.response = self._answer(reply) if reply else {}

    def _answer(self, reply: Reply) -> dict[str, Any]:
        """Of a success the ids alone: the rest of a record may be personal. Of an error what it says, no echoes."""
        found: dict[str, Any] = {"status": reply.status, "seconds": round(reply.seconds, 3)}
        names = ("retry-after", "sforce-limit-info", "x-hubspot-ratelimit-remaining", "x-hubspot-correlation-id")
        headers = {name: reply.headers[name][:100] for name in names if name in reply.headers}
        if 200 <= reply.status < 300:
            return {**found, "headers": headers, "body": _ids(parsed(reply.body))}
        text = reply.body[: 4 * SHOWN].decode("utf-8", "replace")
        for clear in self._clear:
            text = text.replace(clear, "[personal]")
        return {**found, "headers": headers, "body": masked(text)[:SHOWN]}

    def _kept(self, outcome: Outcome) -> Outcome:
        data = {**self.known, **outcome.data} if outcome.kind == "retry" else outcome.data
        text = self._scrubbed(outcome.message)
        return replace(outcome, message=text, data=data, request=self.request, response=self.response)

    def _scrubbed(self, text: str) -> str:
        for clear in self._clear:
            text = text.replace(clear, "[personal]")
        return masked(text)[:300]

    def done(self, message: str, **data: Any) -> Outcome:
        return Outcome.done(message, data=data, request=self.request, response=self.response)


class RestAction(ABC):
    """See rules.ports.ActionExecutor. type: of the connection. service: how it is spoken to."""

    name: str
    undo: str
    type: ClassVar[str]
    service: ClassVar[Service]

    def __init__(self, api: Api) -> None:
        self.api = api

    def execute(self, task: Body, now: datetime) -> Outcome:
        talk = Talk(self.api, self.service, task, connection_of(task, self.type), now)
        try:
            if task.get("trial"):
                return self.trial(talk)
            outcome = self.act(talk, self.given(task["params"]))
        except Settled as settled:
            outcome = settled.outcome
        return remembering(outcome, task)

    def given(self, params: Body) -> Body:
        """The parameters with what the service takes for granted. Raises Settled."""
        return params

    @abstractmethod
    def trial(self, talk: Talk) -> Outcome:
        """Ask the service something that changes nothing."""

    @abstractmethod
    def act(self, talk: Talk, params: Body) -> Outcome:
        """Do it. Raises Settled."""


def key_of(params: Body, task: Body) -> str:
    """The value that the record is found by. Raises Settled where there is none."""
    key = str(params.get("key") or task["customer"] or "")
    if not key:
        raise Settled(Outcome.dead("The event names no customer, and the step no value to find the record by."))
    return key


def due_of(params: Body) -> datetime | None:
    """When a task is due, as the step says. Raises Settled for what is no time."""
    try:
        return time_of(params.get("due"))
    except ValueError:
        raise Settled(Outcome("person", f"A task cannot be due at {params['due']!r}: that is no time.")) from None


def line_text(value: Any) -> str:
    """A field's value as a line of the step would write it."""
    return "" if value is None else ("true" if value else "false") if isinstance(value, bool) else str(value)


def unless_changed(now: Mapping[str, Any], left: Mapping[str, Any] | None) -> None:
    """An undo overwrites nothing but what the effect left behind. Raises Settled."""
    odd = [name for name, value in (left or {}).items() if line_text(now.get(name)) != line_text(value)]
    if odd:
        raise Settled(Outcome("person", f"Somebody has changed {', '.join(sorted(odd))} meanwhile, so it stays."))


def parsed(body: bytes) -> Any:
    """The JSON of an answer; None when it is none."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _ids(found: Any) -> Any:
    if isinstance(found, Mapping):
        kept = {name: found[name] for name in ("id", "new", "created", "success", "total") if name in found}
        return {**kept, **({"results": [_ids(one) for one in found["results"]]} if "results" in found else {})}
    return [_ids(one) for one in found] if isinstance(found, list) else None


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_masked(part) for part in value]
    return masked(value) if isinstance(value, str) else value


def settings(text: Any) -> dict[str, str]:
    """`name = value` lines as a mapping; an undo has one already. Raises Settled (a person must mend the step) for what
    is no such line."""
    if isinstance(text, Mapping):
        return {named(name): str(value) for name, value in text.items()}
    found = {}
    for line in str(text or "").splitlines():
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise Settled(Outcome("person", f"{masked(line.strip())[:60]!r} is no line such as name = value."))
        found[named(name.strip())] = value.strip()
    return found


def named(text: Any) -> str:
    """The internal name of a field or object. Raises Settled for what cannot be one."""
    if not NAME.fullmatch(str(text)):
        raise Settled(Outcome("person", f"{masked(str(text))[:60]!r} is no internal name of a field or object."))
    return str(text)
