"""How long a request may take, and how many of one caller may be under way: slow ones never take all threads.

A thread cannot be ended from outside. So what a request does asks, before each read and in every loop that may be long
(rules.patience), whether its time is over, until it begins to change something; from there on it is carried to its end,
which every use case bounds. Webhooks, health checks and what Google's services call have limits of their own.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from flask import Flask, Response, g, request

from app import logs
from app.adapters import patient
from app.services import Services
from app.web import pages
from app.web.gate import identity
from rules import patience

MOST = 24  # under way at one moment, those in line among them: webhooks and health checks have the other threads
EACH = 8  # of them of one caller, and
LINE = 8  # of its next ones that may wait
TURN_SECONDS = 2.0  # that they wait
AGAIN = 2  # seconds after which one that was refused comes again
TAKES_LONG = (
    "This took longer than {seconds:,} seconds, so it was ended. Nothing was changed. Ask for less at once: a shorter "
    "time, fewer rules, a narrower filter; backtests and what acts on many go on by themselves as jobs."
)
TOO_MANY = "{count} of your requests are under way already. Wait for one of them to end, and send this one again."
BUSY = "Too much is under way just now. Nothing was changed; try again shortly."
Refusal = Literal["", "many", "busy"]


@dataclass
class Underway:
    """Who is being answered. patience: seconds in line for a turn. Safe from many threads."""

    most: int = MOST
    each: int = EACH
    line: int = LINE
    patience: float = TURN_SECONDS
    _running: Counter[str] = field(default_factory=Counter)
    _waiting: Counter[str] = field(default_factory=Counter)
    _free: threading.Condition = field(default_factory=threading.Condition)

    def enter(self, caller: str) -> Refusal:
        """Take a turn; else why there is none: the caller has too many, or all together have."""
        with self._free:
            if self._running.total() + self._waiting.total() >= self.most:
                return "busy"
            if self._running[caller] >= self.each and not self._comes(caller):
                return "many"
            self._running[caller] += 1
            return ""

    def leave(self, caller: str) -> None:
        with self._free:
            _less(self._running, caller)
            self._free.notify_all()

    def _comes(self, caller: str) -> bool:
        """Wait in line; whether a turn came."""
        if self._waiting[caller] >= self.line:
            return False
        self._waiting[caller] += 1
        try:
            return self._free.wait_for(lambda: self._running[caller] < self.each, self.patience)
        finally:
            _less(self._waiting, caller)


def _less(counter: Counter[str], caller: str) -> None:
    """One less; who has none is not remembered."""
    counter[caller] -= 1
    if not counter[caller]:
        del counter[caller]


# ---- in the application ---------------------------------------------------------------------------------------------
def patient_services(services: Services) -> Services:
    """The services whose ports ask whether they are still waited for."""
    s = services
    return replace(
        s,
        store=patient.store(s.store),
        vault=patient.vault(s.vault),
        secrets=patient.secrets(s.secrets),
        bus=patient.bus(s.bus),
        inbox=patient.inbox(s.inbox),
    )


def install(flask: Flask, services: Services, monotonic: Callable[[], float], underway: Underway) -> None:
    """After the gate, which says who is asking; whoever is refused there has cost next to nothing."""
    flask.before_request(partial(_enter, services, monotonic, underway))
    flask.teardown_request(_leave)
    flask.register_error_handler(patience.Overdue, lambda _: _overdue(services))


def _enter(services: Services, monotonic: Callable[[], float], underway: Underway) -> Response | None:
    if g.wanted == ("machine",) or request.endpoint in (None, "static"):
        return None
    caller = g.actor or identity.address(services.settings)
    if refusal := underway.enter(caller):
        return _refused(refusal, underway.each)
    g.leaving = stack = ExitStack()
    stack.callback(underway.leave, caller)
    until = monotonic() + services.settings.request_seconds
    stack.enter_context(patience.waited(lambda: monotonic() > until))
    return None


def _leave(_: BaseException | None = None) -> None:
    """Also before an answer that says that it took too long."""
    if stack := g.pop("leaving", None):
        stack.close()


def _overdue(services: Services) -> Response:
    seconds = services.settings.request_seconds
    logs.line("page.overdue", logging.WARNING, endpoint=request.endpoint, method=request.method, seconds=seconds)
    _leave()
    answer = pages.problem(503, "This took too long", TAKES_LONG.format(seconds=seconds))
    answer.headers["Retry-After"] = str(max(AGAIN, seconds))
    return answer


def _refused(refusal: Refusal, each: int) -> Response:
    logs.line("page.refused", logging.WARNING, endpoint=request.endpoint, method=request.method, because=refusal)
    if refusal == "many":
        answer = pages.problem(429, "One after the other", TOO_MANY.format(count=each))
    else:
        answer = pages.problem(503, "Busy just now", BUSY)
    answer.headers["Retry-After"] = str(AGAIN)
    return answer
