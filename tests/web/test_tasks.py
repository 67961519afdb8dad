"""What Google calls: pushed events and ticks, with Google's identity tokens signed by a key of our own."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from flask.testing import FlaskClient
from google.auth import crypt, jwt

from app.adapters.delivery import MAX_ATTEMPTS
from app.adapters.memory import MemoryStore
from app.adapters.oidc import FRESH, SOONEST, Callers
from app.adapters.pubsub import PubSubInbox, attributes_of
from app.adapters.pubsub_dead import Tenants
from app.adapters.pubsub_topics import names
from app.services import Services
from app.web import create_app
from rules.event import Event
from rules.ports import Put, Refused, Unavailable, Write
from tests.builders import TENANT, event, services_in_memory
from tests.contracts.bus import in_threads

ACCOUNT = "pusher@project.iam.gserviceaccount.com"
PUSH, TICK = "https://box.example/pubsub/push", "https://box.example/tasks/tick"
NAMES = names("p")


class Key:
    """An RSA key with the certificate that Google would publish for it."""

    def __init__(self, id: str) -> None:
        private = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "google")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        made = made.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9))
        self.id = id
        self.certificate = made.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        self._signer = crypt.RSASigner.from_string(pem, id)

    def token(self, audience: str = PUSH, **claims: Any) -> str:
        now = int(datetime.now(UTC).timestamp())
        body = {
            "iss": "https://accounts.google.com",
            "aud": audience,
            "email": ACCOUNT,
            "email_verified": True,
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        return "Bearer " + jwt.encode(self._signer, body).decode()


GOOGLE, STRANGER = Key("k1"), Key("k1")


def callers() -> Callers:
    return Callers([ACCOUNT], lambda: {GOOGLE.id: GOOGLE.certificate})


class Publisher:
    """Notes what is published."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []

    def publish(self, topic: str, data: bytes, ordering_key: str = "", **attributes: str) -> Future[str]:
        self.sent.append((topic, data, attributes))
        future: Future[str] = Future()
        future.set_result("1")
        return future


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def on_google(publisher: Publisher) -> Services:
    services = services_in_memory(environment="production", public_url="https://box.example")
    known = Tenants(lambda: [TENANT], lambda tenant, now: None)
    return replace(services, inbox=PubSubInbox(None, publisher, NAMES, services.store, known), callers=callers())


@pytest.fixture
def client(on_google: Services) -> Iterator[FlaskClient]:
    with create_app(on_google).test_client() as client:
        yield client


def pushed(found: Event, attempt: int = 1) -> dict[str, Any]:
    data = base64.b64encode(orjson.dumps(found.data)).decode()
    message = {"messageId": "7", "data": data, "attributes": attributes_of(found), "orderingKey": found.partition}
    return {"message": message, "subscription": NAMES.subscription, "deliveryAttempt": attempt}


def post(client: FlaskClient, body: Any, token: str | None = None) -> Any:
    headers: Mapping[str, str] = {"Authorization": GOOGLE.token() if token is None else token}
    return client.post("/pubsub/push", json=body, headers=headers)


def test_a_pushed_event_is_handled_once_and_acknowledged_each_time(client: FlaskClient, on_google: Services) -> None:
    found = event()
    assert post(client, pushed(found)).status_code == 204
    assert post(client, pushed(found)).status_code == 204
    assert on_google.store.get(found.tenant, "event", found.id) is not None
    assert on_google.store.count(found.tenant, "event") == 1


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "bearer token"),
        ("Bearer nonsense", "does not hold"),
        (STRANGER.token(), "does not hold"),
        (Key("k2").token(), "not Google's"),
        (GOOGLE.token(TICK), "does not hold"),
        (GOOGLE.token(iss="https://evil.example"), "not issued by Google"),
        (GOOGLE.token(email="other@project.iam.gserviceaccount.com"), "another account"),
        (GOOGLE.token(email_verified=False), "another account"),
        (GOOGLE.token(exp=int(datetime.now(UTC).timestamp()) - 120), "does not hold"),
    ],
)
def test_who_cannot_show_that_it_is_the_pusher_is_refused(
    client: FlaskClient, on_google: Services, token: str, said: str
) -> None:
    answer = post(client, pushed(event()), token)
    assert answer.status_code == 403
    assert said in answer.get_json()["detail"]
    assert on_google.store.count(event().tenant, "event") == 0


def test_without_a_named_account_nobody_may_push_or_tick(on_google: Services) -> None:
    client = create_app(replace(on_google, callers=None)).test_client()
    for path in ("/pubsub/push", "/tasks/tick"):
        answer = client.post(path, json={}, headers={"Authorization": GOOGLE.token()})
        assert answer.status_code == 403
        assert "SIGNALBOX_CALLERS" in answer.get_json()["detail"]


@pytest.mark.parametrize("body", [None, [], {}, {"message": {}}, {"message": {"messageId": "1", "data": "%%%"}}])
def test_what_is_no_push_request_is_refused(client: FlaskClient, body: Any) -> None:
    answer = post(client, body)
    assert answer.status_code == 400
    assert "no push request" in answer.get_json()["detail"]


def test_what_no_version_can_read_goes_to_the_dead_letters(client: FlaskClient, publisher: Publisher) -> None:
    body = {"message": {"messageId": "1", "data": base64.b64encode(b"{}").decode(), "attributes": {"a": "b"}}}
    assert post(client, body).status_code == 204
    ((topic, _, attributes),) = publisher.sent
    assert topic == NAMES.dead_topic
    assert "no event that this version can read" in attributes["reason"]


class Away:
    """A store that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        raise Unavailable("the store is away")


def test_a_store_that_is_away_brings_the_event_again(on_google: Services, publisher: Publisher) -> None:
    client = create_app(on_google).test_client()
    client.application.extensions["services"] = replace(on_google, store=Away())
    answer = post(client, pushed(event(), attempt=MAX_ATTEMPTS))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert publisher.sent == []


class Unanswered(MemoryStore):
    """A store whose next commit happens, and nobody is told."""

    lost = 0

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        super().commit(tenant, event, writes)
        if event is not None and self.lost:
            self.lost -= 1
            raise Unavailable("no answer")


def test_a_push_whose_commit_was_not_answered_comes_again_and_is_handled_once(
    on_google: Services, publisher: Publisher
) -> None:
    store = Unanswered()
    store.lost = 1
    client = create_app(replace(on_google, store=store)).test_client()
    assert post(client, pushed(event(), attempt=1)).status_code == 503
    assert post(client, pushed(event(), attempt=2)).status_code == 204
    assert store.count(TENANT, "event") == 1
    assert publisher.sent == []


def test_copies_of_a_push_at_one_moment_are_handled_once(on_google: Services) -> None:
    app, answers = create_app(on_google), []
    in_threads(6, lambda n: answers.append(post(app.test_client(), pushed(event())).status_code))
    assert set(answers) <= {204, 503}
    assert 204 in answers
    assert on_google.store.count(TENANT, "event") == 1


def test_a_tick_does_what_is_due(publisher: Publisher) -> None:
    services = replace(services_in_memory(public_url="https://box.example"), callers=callers())
    services.bus.publish(event())
    client = create_app(services).test_client()
    answer = client.post("/tasks/tick", headers={"Authorization": GOOGLE.token(TICK)})
    assert answer.status_code == 200
    assert answer.get_json()["handled"] == 1
    assert client.post("/tasks/tick", headers={"Authorization": GOOGLE.token(PUSH)}).status_code == 403


def test_certificates_are_fetched_once_and_again_for_a_new_key_but_not_for_every_stranger() -> None:
    now, fetches = [0.0], []
    later = Key("k9")
    served = {GOOGLE.id: GOOGLE.certificate}

    def fetch() -> dict[str, str]:
        fetches.append(now[0])
        return dict(served)

    found = Callers([ACCOUNT], fetch, lambda: now[0])
    for _ in range(3):
        assert found.check(GOOGLE.token(), PUSH) == ACCOUNT
    assert fetches == [0.0]
    served[later.id] = later.certificate
    for _ in range(3):
        with pytest.raises(Refused, match="not Google's"):
            found.check(later.token(), PUSH)
    assert fetches == [0.0]
    now[0] = SOONEST + 1
    assert found.check(later.token(), PUSH) == ACCOUNT
    now[0] += FRESH + 1
    found.check(GOOGLE.token(), PUSH)
    assert len(fetches) == 3


def test_certificates_that_cannot_be_had_are_not_the_callers_fault(on_google: Services) -> None:
    def away() -> dict[str, str]:
        raise Unavailable("no network")

    client = create_app(replace(on_google, callers=Callers([ACCOUNT], away))).test_client()
    assert post(client, pushed(event())).status_code == 503
