"""The door for webhooks: what each request gets, and that everything else goes on to Flask."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from app.receive.webhook import LIMIT
from app.services import Services
from app.web.webhooks import in_front_of
from tests.builders import body_of, envelope, services_in_memory, signature


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        self.status, self.headers = int(status.split()[0]), dict(headers)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


def flask(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"flask"]


def ask(
    services: Services, body: bytes = b"", path: str = "/webhooks/stripe", method: str = "POST", **environ: Any
) -> Answer:
    answer = Answer()
    given = environ_of(body, path, method, **environ)
    answer.body = b"".join(in_front_of(flask, services)(given, answer.start))
    return answer


def environ_of(body: bytes, path: str = "/webhooks/stripe", method: str = "POST", **more: Any) -> dict[str, Any]:
    """A signed request; a part that is None is left out."""
    given = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_STRIPE_SIGNATURE": signature(body),
        "wsgi.input": io.BytesIO(body),
        **more,
    }
    return {name: value for name, value in given.items() if value is not None}


@pytest.fixture
def services() -> Services:
    return services_in_memory()


def test_a_signed_event_is_a_200_with_its_id(services: Services) -> None:
    answer = ask(services, body_of(envelope("evt_7")))
    assert (answer.status, answer.json) == (200, {"received": True, "id": "evt_7"})
    assert services.inbox.oldest() is not None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"HTTP_STRIPE_SIGNATURE": None}, 400),
        ({"HTTP_STRIPE_SIGNATURE": "t=1,v1=é"}, 400),
        ({"HTTP_CONTENT_ENCODING": "gzip"}, 415),
        ({"CONTENT_LENGTH": "many"}, 400),
        ({"CONTENT_LENGTH": "-1"}, 400),
        ({"CONTENT_LENGTH": "99999"}, 400),
        ({"CONTENT_LENGTH": str(LIMIT + 1)}, 413),
        ({"CONTENT_LENGTH": "9" * 5000}, 413),
        ({"CONTENT_LENGTH": "3"}, 400),
        ({"REQUEST_METHOD": "GET"}, 405),
        ({"REQUEST_METHOD": "PUT"}, 405),
    ],
)
def test_what_is_refused_is_a_problem_document(services: Services, change: dict[str, Any], status: int) -> None:
    answer = ask(services, body_of(envelope()), **change)
    assert answer.status == answer.json["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["detail"]
    assert services.inbox.oldest() is None


def test_without_a_length_the_body_is_read_to_its_end(services: Services) -> None:
    assert ask(services, body_of(envelope()), CONTENT_LENGTH=None).status == 200


def test_without_a_length_too_much_is_refused_without_being_read(services: Services) -> None:
    endless = Endless()
    assert ask(services, b"", CONTENT_LENGTH=None, **{"wsgi.input": endless}).status == 413
    assert endless.given <= LIMIT + 1


class Endless:
    given = 0

    def read(self, size: int) -> bytes:
        part = b"x" * min(size, 65_536)
        self.given += len(part)
        return part


def test_missing_secret_says_when_to_come_again() -> None:
    answer = ask(services_in_memory(stripe_webhook_secrets=()), body_of(envelope()))
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "STRIPE_WEBHOOK_SECRET" in answer.json["detail"]


class Broken:
    def publish(self, event: object) -> None:
        raise RuntimeError("whsec_secret in a surprise")


def test_a_fault_of_ours_is_a_500_that_tells_nothing(services: Services) -> None:
    answer = ask(replace(services, bus=Broken()), body_of(envelope()))  # type: ignore[arg-type]
    assert answer.status == 500
    assert b"whsec_" not in answer.body


@pytest.mark.parametrize(("path", "status"), [("/healthz", "ok"), ("/readyz", "ready")])
def test_health_is_answered_here(services: Services, path: str, status: str) -> None:
    answer = ask(services, path=path, method="GET")
    assert (answer.status, answer.json) == (200, {"status": status})


class Gone:
    def get(self, *_: object) -> None:
        raise RuntimeError("no disk")


def test_it_is_not_ready_when_the_store_does_not_answer(services: Services) -> None:
    answer = ask(replace(services, store=Gone()), path="/readyz", method="GET")  # type: ignore[arg-type]
    assert (answer.status, answer.json["status"]) == (503, 503)
    assert ask(replace(services, store=Gone()), path="/healthz", method="GET").status == 200  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/", "/webhooks/stripe/", "/webhooks", "/healthz/"])
def test_everything_else_goes_on_to_flask(services: Services, path: str) -> None:
    assert ask(services, path=path).body == b"flask"
