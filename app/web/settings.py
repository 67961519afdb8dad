"""Settings: how Stripe is connected, the import of its history, what is stopped, what runs here."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flask import Blueprint, Response, request

from app import author, declared, jobs, operate, tenant_settings
from app.approvals import Change
from app.audit import entry
from app.receive import history, signing
from app.scores import scores
from app.services import key_tenant
from app.web import second
from app.web.gate import access
from app.web.pages import actor, go, now, page, services, tenant
from app.web.safety import dry_run_row
from rules.ports import Conflict
from rules.rule import RuleError

blueprint = Blueprint("settings", __name__)
Row = dict[str, Any]


@blueprint.get("/settings")
def look() -> Response:
    store, mine = services().store, tenant()
    return page(
        "settings.html",
        stripe=stripe_status(),
        connections=author.connections(store, mine),
        lists=author.lists(store, mine),
        account=tenant_settings.read(store, mine),
        subjects=declared.declared(store, mine),
        scores=scores(store, mine),
        switches=operate.switches(store, mine),
        dry=dry_run_row(),
        rules={row["id"]: row["name"] for row in author.rules(store, mine)},
        job=_job(),
        can_import=_can_import(),
        about=about(),
    )


# ---- Stripe ---------------------------------------------------------------------------------------------------------
def stripe_status() -> Row:
    """What is set and what was heard, without any secret."""
    settings, store = services().settings, services().store
    key = settings.stripe_api_key
    newest = store.find(tenant(), "event", order="-recorded", limit=1).items
    stored = signing.stored(services().secrets)
    return {
        "key": f"{key[:8]}…" if key else "",
        "key_mode": "live" if key_tenant(key).endswith("/live") else "test",
        "stand_in": settings.stand_in,
        "base": settings.stripe_api_base,
        "secrets_environment": len(settings.stripe_webhook_secrets),
        "secrets_stored": len(stored),
        "last_event": newest[0].body["recorded"] if newest else None,
        "address": f"{settings.public_url or request.host_url.rstrip('/')}/webhooks/stripe",
    }


@blueprint.post("/settings/stripe")
def add_webhook_secret() -> Response:
    """Take one more signing secret; Stripe signs with old and new while one is rolled."""
    wanted = Change("webhook secret", signing.ABOUT, {"secret": request.form.get("secret", "").strip()})
    try:
        signing.check(wanted.given["secret"])
        came = second.change(wanted, second.reason(), emergency=second.is_emergency())
    except RuleError as error:
        return _secret_form({one.path: one.message for one in error.problems}, 422)
    done = "The webhook secret is kept. Webhooks signed with it are taken from now on."
    return go("/settings", *second.said(came, done))


@blueprint.get("/settings/stripe")
def ask_webhook_secret() -> Response:
    return _secret_form({})


def _secret_form(wrong: Row, status: int = 200) -> Response:
    asks = second.asks("webhook secret", signing.ABOUT)
    return page("settings_stripe.html", status=status, stripe=stripe_status(), wrong=wrong, asks=asks)


@blueprint.get("/settings/stripe/forget")
def ask_forget() -> Response:
    return _confirm_forget()


@blueprint.post("/settings/stripe/forget")
def forget_webhook_secrets() -> Response:
    """Drop the secrets that were set here; those of the environment stay."""
    why = request.form.get("reason", "").strip()
    if not why:
        return _confirm_forget("A few words are enough.", 422)
    signing.forget(services().store, services().secrets, tenant(), actor(), now(), why)
    return go("/settings", "The webhook secrets that were set here are forgotten.", "warn")


def _confirm_forget(error: str | None = None, status: int = 200) -> Response:
    return page(
        "confirm.html",
        status=status,
        title="Forget the webhook secrets set here?",
        verb="Forget them",
        kind="danger",
        means=["Webhooks signed with them are refused from then on; Stripe tries again for up to three days."],
        action="/settings/stripe/forget",
        back="/settings",
        error=error,
    )


def _noted(verb: str, about: str, why: str = "") -> None:
    services().store.commit(tenant(), None, [entry(now(), actor(), verb, about, why=why)])


# ---- history --------------------------------------------------------------------------------------------------------
@blueprint.get("/settings/import")
def import_progress() -> Response:
    return page("settings_import.html", "progress", job=_job(), can_import=_can_import())


@blueprint.post("/settings/import")
def begin_import() -> Response:
    refusal = _can_import()
    if refusal:
        raise Conflict(refusal)
    job = _job()
    if not job or job["state"] not in jobs.OPEN:
        id = history.start_import(services().store, tenant(), now())
        _noted("import history", id)
    return go("/settings/import")


@blueprint.post("/settings/import/stop")
def stop_import() -> Response:
    job = _job()
    if job and jobs.cancel(services().store, tenant(), job["id"], now()):
        _noted("stop import", job["id"])
    return go("/settings/import", "The import stops. What came in stays.", "warn")


def _job() -> Row | None:
    found = jobs.latest(services().store, tenant(), "import")
    return dict(found.body) if found else None


def _can_import() -> str:
    """Why the history of this tenant cannot be imported; empty when it can."""
    key = services().settings.stripe_api_key
    if not key:
        return "No Stripe key is set: start Signalbox with STRIPE_API_KEY to import the last 30 days."
    if services().settings.stand_in:
        return "The stand-in for Stripe has no history: start Signalbox with STRIPE_API_KEY to import yours."
    if key_tenant(key) != tenant():
        return f"The Stripe key belongs to {key_tenant(key)}; choose that tenant to import its history."
    return ""


# ---- switches -------------------------------------------------------------------------------------------------------
@blueprint.get("/settings/switch")
def ask_switch() -> Response:
    return _confirm_switch(request.args.get("what", "all"), request.args.get("stop", "1") == "1")


@blueprint.post("/settings/switch")
def set_switch() -> Response:
    what, stop = request.form.get("what", ""), request.form.get("stop") == "1"
    why = request.form.get("reason", "").strip()
    if not why:
        return _confirm_switch(what, stop, "Say why: who finds it stopped will want to know.", 422)
    if not stop:
        access.require_changes()
    operate.switch(services().store, tenant(), what, stop, actor(), why[:2000], now())
    return go(
        "/settings#switches", f"{_named(what)} {'stands still' if stop else 'goes on'}.", "warn" if stop else "good"
    )


def _confirm_switch(what: str, stop: bool, error: str | None = None, status: int = 200) -> Response:
    stopping = ["No action is sent from the next second on. Events are still taken, matched and kept.",
                "What is due waits, and goes out when you let it go on."]  # fmt: skip
    return page(
        "confirm.html",
        status=status,
        title=f"Stop {_named(what).lower()}?" if stop else f"Let {_named(what).lower()} go on?",
        verb="Stop" if stop else "Go on",
        kind="danger" if stop else "primary",
        means=stopping if stop else ["What waited goes out now, the oldest first, each under the id it had."],
        action="/settings/switch",
        back="/settings#switches",
        fields={"what": what, "stop": "1" if stop else "0"},
        error=error,
    )


def _named(what: str) -> str:
    kind, _, name = what.partition(":")
    return {"all": "Everything", "rule": f"The rule {name}", "connection": f"The connection {name}"}.get(kind, what)


# ---- what runs here -------------------------------------------------------------------------------------------------
def about() -> list[tuple[str, str]]:
    """What runs here, for a person who reports something."""
    ports = services()
    settings = ports.settings
    return [
        ("Matcher", type(ports.rulesets.matcher).__name__.removesuffix("Matcher").lower()),
        ("Stripe’s fields", f"API {ports.catalogue.api_version}, SDK {ports.catalogue.sdk}"),
        (
            "Storage",
            f"{settings.backend}, {settings.data.resolve()}" if settings.backend == "sqlite" else settings.backend,
        ),
        ("Environment", settings.environment),
        ("Traces go to", settings.otlp_endpoint or "the store only"),
        ("Python", platform.python_version()),
        ("durable-rules", _installed("durable_rules")),
    ]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
