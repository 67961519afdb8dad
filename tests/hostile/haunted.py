"""An installation in which every text is hostile that somebody could write, and every secret can be told."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from flask.testing import FlaskClient

from app.services import Services, job_types
from app.web import create_app
from app.web.webhooks import in_front_of
from app.worker import Work, tick
from tests.builders import body_of, envelope, invoice, services_in_memory, signed
from tests.fakes.receiver import Receiver, Say

# Breaks out of an attribute in single, double or no quotes, of a text, a title, a textarea, a script and a comment
BREAK = "--></title></textarea></script></style></select>"
EVIL = f"""'"` hostile=1 ><hostile hostile="1">{BREAK}<hostile>{{{{7*191}}}}\u202e&lt;"""
SHORT = "\"'><hostile hostile=1>"  # where forty characters are the most
SECRET = "S3CR3T"  # in every secret, and in nothing else
SIGNING = "whsec_" + "UzNDUjNULWluLWJhc2U2NC1hcy1hLXNpZ25pbmctc2VjcmV0"  # base64 of a text that begins with SECRET
SETTINGS = {
    "stripe_api_key": f"sk_test_{SECRET}stripekey",
    "stripe_webhook_secrets": (f"whsec_{SECRET}webhook",),
    "admin_token": f"{SECRET}-admin-token-of-the-installation",
}
MAX_PAGES = 600


@dataclass
class Haunted:
    services: Services
    client: FlaskClient
    api: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, body: Any, method: str = "POST") -> Any:
        answer = self.client.open("/api/v1" + path, method=method, json=body, headers=self.api)
        assert answer.status_code < 300, (path, answer.status_code, answer.text[:600])
        return answer.json


TEXT = EVIL.replace("{{7*191}}", "")
HOLE = "{{ data.object.description }}"
RULE: dict[str, Any] = {
    "id": "evil",
    "name": f"Evil {SHORT}",
    "why": EVIL,
    "when": {"event": ["invoice.payment_failed"], "same": "invoice"},
    "only_if": {
        "any": [
            {"field": "data.object.amount_remaining", "is": "greater than", "value": 0},
            {"field": f'data.object.metadata["{SHORT[2:]}"]', "is": "equal to", "value": EVIL},
            {"field": "data.object.description", "is": "contains", "value": EVIL},
        ]
    },
    "steps": [
        {"name": "say", "do": "slack.post", "with": {"connection": "team", "text": f"{TEXT} {HOLE} <!channel>"}},
        {"name": "tell", "do": "crm.notify", "with": {"connection": "crm", "stage": f"{HOLE} {TEXT}"}},
        {"name": "ask", "approve": {"role": "operator", "at_most": "P7D"}},
    ],
    "stop_when": [{"event": ["invoice.voided"], "same": "invoice"}],
    "limits": {"runs": 100, "per": "P1D"},
}


@contextmanager
def haunted() -> Iterator[Haunted]:
    crm = Receiver(usual=Say(500, body=EVIL.encode(), headers={"Server": SHORT, "Location": f"javascript:{SHORT}"}))
    slack = Receiver(usual=Say(200, body=EVIL.encode()))
    services = services_in_memory(**SETTINGS)
    with crm.running() as crm_url, slack.running() as slack_url:
        found = Haunted(
            services, create_app(services).test_client(), {"Authorization": f"Bearer {SETTINGS['admin_token']}"}
        )
        furnish(found, crm_url, f"{slack_url}/{SECRET}/services")
        assert crm.got
        assert slack.got
        yield found


def connections(crm: str, slack: str) -> list[dict[str, Any]]:
    where = {"url": f"{crm}/hook?key={SECRET}query", "headers": {"X-Key": f"{SECRET}header"}}
    mail = {"host": "127.0.0.1", "port": 9, "tls": "none", "user": "u", "from": "ops@example.com"}
    app = {"client_id": "id", "client_secret": f"{SECRET}client", "secret": f"{SECRET}refresh"}
    return [
        {"name": "crm", "type": "webhook", "secret": SIGNING, **where},
        {"name": "team", "type": "slack", "secret": slack},
        {"name": "post", "type": "smtp", "secret": f"{SECRET}mail", **mail},
        {"name": "hub", "type": "hubspot", **app},
        {"name": "force", "type": "salesforce", "base": "https://x.my.salesforce.com", **app},
    ]


def furnish(home: Haunted, crm: str, slack: str) -> None:
    for body in connections(crm, slack):
        home.post("/connections", body)
    home.post("/rules", RULE)
    home.post("/rules/evil/publish", {"note": EVIL})
    home.post("/rules", {**RULE, "id": "draft", "name": SHORT})
    for event in (
        envelope("evt_1", object=haunted_invoice("in_1")),
        envelope("evt_2", object=haunted_invoice("in_2")),
        envelope("evt_5", object=haunted_invoice("in_3")),
        envelope("evt_3", type="invoice.voided", object=haunted_invoice("in_2")),
        envelope("evt_4", type="x-unknown.[type].thing", object={"object": "odd", "id": EVIL, EVIL: EVIL}),
    ):
        receive(home, event)
        tick(Work(home.services, job_types(home.services)), home.services.clock.now())
    runs = home.client.get("/api/v1/runs", headers=home.api).json["items"]
    open_ = [run["id"] for run in runs if run["state"] != "stopped"]
    home.post(f"/runs/{open_[0]}/cancel", {"note": EVIL})


def haunted_invoice(id: str) -> dict[str, Any]:
    return invoice(
        id,
        customer="cus_evil",
        description=EVIL,
        metadata={SHORT[2:]: EVIL, EVIL: EVIL, "__proto__": EVIL},
        amount_remaining=4900,
        currency="usd",
        number=EVIL,
        hosted_invoice_url=f"javascript:alert('{SHORT}')",
        footer=EVIL,
    )


def receive(home: Haunted, event: Mapping[str, Any]) -> None:
    body = body_of(event)
    stamped = signed(body, home.services.clock.now(), SETTINGS["stripe_webhook_secrets"][0])
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/webhooks/stripe",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_STRIPE_SIGNATURE": stamped["Stripe-Signature"],
        "wsgi.input": io.BytesIO(body),
    }
    said: list[str] = []
    list(in_front_of(home.client.application, home.services)(environ, lambda status, *_: said.append(status)))
    assert said[0].startswith("200"), (said, event["id"])


# ---- walking over all pages -----------------------------------------------------------------------------------------
class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and where they lead."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    handle_startendtag = handle_starttag

    @property
    def links(self) -> list[str]:
        names = ("href", "src", "action", "formaction", "hx-get", "hx-post", "data", "poster")
        return [found[name] for _, found in self.elements for name in names if name in found]


def walk(home: Haunted) -> Iterator[tuple[str, Any]]:
    """Every page that can be reached by links and by addresses without values, each once for its shape of query."""
    plain = [rule.rule for rule in home.client.application.url_map.iter_rules()
             if "GET" in rule.methods and "<" not in rule.rule and not rule.rule.startswith("/api/")]  # fmt: skip
    waiting, seen, shapes = deque(["/", *plain]), set[str](), dict[str, int]()
    while waiting and len(seen) < MAX_PAGES:
        address = waiting.popleft()
        shape = re.sub(r"=[^&]*", "=", re.sub(r"evt_\w+|run_\w+|[0-9a-f]{12,}|(?<=/schemas/)[^?]+", "*", address))
        if address in seen or shapes.get(shape, 0) >= 2:
            continue
        seen.add(address)
        shapes[shape] = shapes.get(shape, 0) + 1
        answer = home.client.get(address)
        yield address, answer
        if answer.mimetype == "text/html":
            for link in Page(answer.text).links:
                target = urldefrag(urljoin(address, link))[0]
                if not urlsplit(target).netloc and target.startswith("/") and not target.startswith("/static/"):
                    waiting.append(target)
        elif answer.location and answer.location.startswith("/"):
            waiting.append(answer.location)
