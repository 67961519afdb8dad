"""The way of every action at Stripe: it reads the state first, then makes one call under the command's key.

A try whose answer was lost is made again with the same key; Stripe forgets keys after a day, so what is so already is
said to be done and not done again. What an action creates carries the command's key in its metadata, and is looked for
there before a second one is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import stripe

from app.connectors.params import remembering
from app.connectors.stripe_answers import StripeAccess, kept_request, kept_response, outcome_of, state_changed
from rules.ports import Body, Field, Outcome

GONE = ("canceled", "incomplete_expired")
MARK = "signalbox"  # the metadata key of what we created; its value is the command's key
Kind = Literal["subscription", "invoice", "customer", "charge", "credit_note", "invoice_item"]
PREFIX: dict[Kind, str] = {
    "subscription": "sub",
    "invoice": "in",
    "customer": "cus",
    "charge": "ch",
    "credit_note": "cn",
    "invoice_item": "ii",
}
PATHS = {"invoice_items": "invoiceitems"}  # where the address differs from the SDK's name
# the SDK's verb: its method and what follows the object's path
VERBS = {
    "update": ("POST", ""),
    "cancel": ("DELETE", ""),
    "pay": ("POST", "/pay"),
    "void_invoice": ("POST", "/void"),
    "mark_uncollectible": ("POST", "/mark_uncollectible"),
    "send_invoice": ("POST", "/send"),
    "pause": ("POST", "/pause"),
    "resume": ("POST", "/resume"),
    "void_credit_note": ("POST", "/void"),
    "delete": ("DELETE", ""),
}
# what a preview stands on: nothing has been read yet
IMAGINED: dict[Kind, dict[str, Any]] = {
    "subscription": {
        "id": "{subscription}",
        "status": "active",
        "cancel_at_period_end": False,
        "pause_collection": None,
        "items": {"data": [{"id": "{item}", "price": {"id": "{price now}"}, "quantity": 1, "current_period_end": 0}]},
    },
    "invoice": {"id": "{invoice}", "status": "open", "amount_remaining": 0, "currency": "usd"},
    "customer": {"id": "{customer}", "metadata": {}},
    "charge": {"id": "{charge}", "status": "succeeded", "amount": 0, "amount_refunded": 0, "currency": "usd"},
    "credit_note": {"id": "{credit note}", "status": "issued", "type": "pre_payment"},
    "invoice_item": {"id": "{invoice item}", "invoice": None},
}


# parameters of an undo: what the effect left behind, compared with what is there, so that nothing else is overwritten
LEFT = ("from_price", "item", "expect")


class NotNow(Exception):
    """The state that was read settles it without a call: the outcome says how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def already(message: str, **data: Any) -> NotNow:
    return NotNow(Outcome.done(message, data={"already": True, **data}))


def other_result(message: str, result: str) -> NotNow:
    """The step cannot be taken any more; the run goes on and its later steps can ask `step.<name>.result`."""
    return NotNow(Outcome("branch", message, data={"result": result}))


def unless_changed(what: str, found: Any, left: Any) -> None:
    """An undo overwrites nothing but what the effect left behind: somebody else's change needs a person."""
    if found != left:
        raise NotNow(Outcome("person", f"{what} is {found or 'empty'} by now, not {left or 'empty'} as we left it."))


@dataclass(frozen=True, slots=True)
class Call:
    """One request. verb: the SDK's. done: the sentence when it succeeded. data: what later steps and an undo read.
    creates: where something new is made (`refunds`); its id is added to the data as `made`."""

    verb: str
    params: Mapping[str, Any]
    done: str
    data: Mapping[str, Any]
    creates: str = ""


class StripeAction(ABC):
    """Read the object, see what is to be done, do it, say what came of it."""

    name: str
    title: str
    kind: Kind
    fields: tuple[Field, ...] = ()
    undo = "Cannot be undone: what it does at Stripe is final."
    stands_on: ClassVar[Body] = {}  # what a preview takes for granted beyond IMAGINED

    def __init__(self, access: StripeAccess) -> None:
        self.access = access

    @abstractmethod
    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        """The request to make on this state of the object; raises NotNow when there is none to make."""

    def imagined(self, params: Body) -> Body:
        """What a preview of these parameters takes for granted of the object."""
        return {}

    def preview(self, params: Body) -> Body:
        """The exact call; what the rule leaves open, and what only the true object says, stands in braces."""
        known = {"id": params[self.kind]} if params.get(self.kind) else {}
        blank = {field.name: f"{{{field.name}}}" for field in self.fields if field.required}
        thing = {**IMAGINED[self.kind], **self.stands_on, **known, **self.imagined({**blank, **params})}
        given = {name: value for name, value in params.items() if value not in (None, "") and name not in LEFT}
        call = _marked(self.call(thing, {**blank, **given}, datetime.fromtimestamp(0, UTC)), "(run)/(step)/0")
        return {**self._request(call, thing["id"], "(run)/(step)/0"), "undo": self.undo}

    def execute(self, task: Body, now: datetime) -> Outcome:
        client = self.access.client(task["tenant"])
        try:
            id = self.subject(client, task)
            thing = self.read(client, id, task)
            return self._make(client, task, thing, self.call(thing, task["params"], now), now)
        except NotNow as settled:
            return remembering(settled.outcome, task)
        except stripe.StripeError as error:
            id = task["params"].get(self.kind) or task["subjects"].get(PREFIX[self.kind], "")
            return outcome_of(error, kept_request("GET", f"{self._path(self._plural)}/{id}", {}, None))

    def subject(self, client: stripe.StripeClient, task: Body) -> str:
        """The id of what is acted upon: the step's, else the event's."""
        id = task["params"].get(self.kind) or task["subjects"].get(PREFIX[self.kind])
        if not id:
            raise NotNow(Outcome.dead(f"The event names no {self.kind.replace('_', ' ')}."))
        return str(id)

    def read(self, client: stripe.StripeClient, id: str, task: Body) -> dict[str, Any]:
        """The object as it is now, with whatever else `call` looks at."""
        found: dict[str, Any] = getattr(client.v1, self._plural).retrieve(id).to_dict(for_json=True)
        if found.get("deleted"):
            raise other_result(f"The {self.kind.replace('_', ' ')} {id} was deleted.", "gone")
        return found

    def _make(self, client: stripe.StripeClient, task: Body, thing: Body, call: Call, now: datetime) -> Outcome:
        key = task["idempotency_key"]
        call = _marked(call, key)
        request = self._request(call, thing["id"], key)
        if "before" in call.data and "remember" in task:
            task["remember"](call.data)
        try:
            answer = self._sent(client, call, thing["id"], key)
        except stripe.StripeError as error:
            if state_changed(error):
                again = self.read(client, thing["id"], task)
                self.call(again, task["params"], now)  # NotNow when that settles it
            outcome = outcome_of(error, request)
            return replace(outcome, data={**call.data, **outcome.data})
        made = {"made": answer.id} if call.creates else {}
        return Outcome.done(call.done, data={**call.data, **made}, request=request, response=kept_response(answer))

    def _sent(self, client: stripe.StripeClient, call: Call, id: str, key: str) -> Any:
        options = {"idempotency_key": key}
        if call.creates:
            return getattr(client.v1, call.creates).create(dict(call.params), options)
        return getattr(getattr(client.v1, self._plural), call.verb)(id, dict(call.params), options)

    @property
    def _plural(self) -> str:
        return f"{self.kind}s"

    @staticmethod
    def _path(plural: str) -> str:
        return f"/v1/{PATHS.get(plural, plural)}"

    def _request(self, call: Call, id: str, key: str) -> dict[str, Any]:
        if call.creates:
            return kept_request("POST", self._path(call.creates), call.params, key)
        method, more = VERBS[call.verb]
        return kept_request(method, f"{self._path(self._plural)}/{id}{more}", call.params, key)


def _marked(call: Call, key: str) -> Call:
    """What is created says which command made it."""
    return replace(call, params={**call.params, "metadata": {MARK: key}}) if call.creates else call


def ours(things: Iterable[Body], task: Body) -> Body | None:
    """What an earlier try of this same effect has created, though its answer was lost."""
    keys = {task["idempotency_key"], *_unanswered(task)}
    return next((thing for thing in things if (thing.get("metadata") or {}).get(MARK) in keys), None)


def _unanswered(task: Body) -> Iterator[str]:
    """The keys of the tries since the last that was answered: a stored error of Stripe's gave them another one."""
    for attempt in reversed(task["attempts"]):
        if attempt["outcome"] in ("done", "branch"):
            return
        yield f"{task['id']}/{attempt['generation']}"
