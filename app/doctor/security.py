"""The doctor's look at the safety of an installation: who comes in, what goes out, what is kept and how, line by line.

It changes nothing and prints no secret. What is wrong has to be mended; what is a note may be as it should be.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.doctor.finding import Finding, State
from app.settings import SHORTEST_TOKEN, Settings
from rules.event import instant
from rules.kinds import SYSTEM

if TYPE_CHECKING:
    from app.services import Services

LONG_TOKEN = 32  # characters
LONG_REQUEST = 120  # seconds
QUIET = timedelta(days=90)  # who has not been here for so long may have no need to be
YEAR = timedelta(days=365)
REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
KEYS = "keys.json"


def examine(settings: Settings, services: Callable[[], Services], now: datetime) -> Iterator[Finding]:
    """Every line, what the environment says first. services: opens the installation."""
    yield environment(settings)
    yield transport(settings)
    yield requests(settings)
    yield admin_token(settings)
    yield from stripe_key(settings)
    if settings.backend == "sqlite":
        yield from modes(settings.data)
    yield from dependencies(REQUIREMENTS)
    yield from open_routes()
    try:
        opened = services()
    except Exception as error:  # whatever it is, the doctor's job is to say it
        yield Finding("data", "wrong", f"It cannot be opened: {error}", "python main.py doctor")
        return
    try:
        yield from inside(opened, settings, now)
    finally:
        opened.close()


def inside(services: Services, settings: Settings, now: datetime) -> Iterator[Finding]:
    from app import tenants

    yield webhook_secrets(services, settings)
    yield sign_in(services, settings)
    yield from people(services, now)
    yield from machines(services, now)
    yield acting(services, settings)
    yield vault(services, settings, now)
    for tenant in tenants.every(services.store):
        yield second_person(services, settings, tenant)
        yield from connections(services, settings, tenant)
        yield retention(services, tenant)
        yield audit(services, tenant)


# ---- what the environment says --------------------------------------------------------------------------------------
def environment(settings: Settings) -> Finding:
    text = f"{settings.environment}, on {settings.backend}, listening on {settings.host}"
    if settings.development and settings.host not in ("127.0.0.1", "localhost", "::1"):
        mend = "SIGNALBOX_ENV=production, or SIGNALBOX_HOST=127.0.0.1"
        return Finding("environment", "wrong", f"{text}: development trusts this machine", mend)
    mend = "SIGNALBOX_ENV=production where others can reach it"
    return Finding("environment", "note" if settings.development else "ok", text, mend if settings.development else "")


def transport(settings: Settings) -> Finding:
    scheme = urlsplit(settings.public_url).scheme
    if settings.development:
        return Finding("https", "note", "not asked for in development; HSTS is off", "SIGNALBOX_ENV=production")
    if scheme != "https":
        what = "SIGNALBOX_PUBLIC_URL is http" if scheme else "SIGNALBOX_PUBLIC_URL is not set"
        mend = "SIGNALBOX_PUBLIC_URL=https://... and TLS in front of this server"
        return Finding("https", "wrong", f"{what}; browsers are told to come by https alone (HSTS)", mend)
    return Finding("https", "ok", f"{settings.public_url}; HSTS for two years, cookies for https alone")


def requests(settings: Settings) -> Finding:
    """How long a page or a call may take, and how many there may be at once."""
    from app.web.gate.deadlines import EACH, MOST

    seconds, text = settings.request_seconds, f"{EACH} of one caller at once, {MOST} together"
    if seconds > LONG_REQUEST:
        mend = f"unset SIGNALBOX_REQUEST_SECONDS (30), or set it to {LONG_REQUEST} at most"
        return Finding("requests", "note", f"{text}; each may take {seconds} seconds, and a thread so long", mend)
    return Finding("requests", "ok", f"ended after {seconds} seconds unless they are changing something; {text}")


def admin_token(settings: Settings) -> Finding:
    length, mend = len(settings.admin_token), "SIGNALBOX_ADMIN_TOKEN=$(openssl rand -hex 32)"
    if not length:
        return Finding("admin token", "ok", "none")
    if length < SHORTEST_TOKEN:
        return Finding("admin token", "wrong", f"{length} characters can be guessed", mend)
    state: State = "ok" if length >= LONG_TOKEN else "note"
    return Finding("admin token", state, f"{length} characters", "" if state == "ok" else mend)


def stripe_key(settings: Settings) -> Iterator[Finding]:
    key = settings.stripe_api_key
    if key.startswith("sk_"):
        mend = "Make a restricted key at Stripe with only what your rules do, and set STRIPE_API_KEY=rk_..."
        yield Finding("stripe key", "note", f"{key[:8]}... may do everything with your account", mend)
    elif key:
        yield Finding("stripe key", "ok", f"{key[:8]}..., restricted")
    base = settings.stripe_api_base
    if base != "https://api.stripe.com":
        state: State = "note" if settings.development else "wrong"
        yield Finding("stripe address", state, f"STRIPE_API_BASE is {base}, and gets the key", "unset STRIPE_API_BASE")


# ---- the machine ----------------------------------------------------------------------------------------------------
def modes(data: Path) -> Iterator[Finding]:
    """Nobody else may read the folder, and the keys in it least of all."""
    if not data.exists():
        yield Finding("data folder", "note", f"{data} is not there yet", "make run")
        return
    keys, shut = data / KEYS, not _others(data)
    if keys.exists() and _others(keys):
        yield Finding("keys", "wrong", f"{keys} can be read by others ({_mode(keys)})", f"chmod 600 {keys}")
    elif keys.exists():
        yield Finding("keys", "ok", f"{keys} is its owner's alone ({_mode(keys)})")
    loose = [] if shut else [file.name for file in sorted(data.iterdir()) if file.is_file() and _others(file)]
    if loose:
        text = f"{data} ({_mode(data)}): others can read {', '.join(loose[:5])}"
        yield Finding("data folder", "wrong", text, f"chmod 700 {data}")
    else:
        yield Finding("data folder", "ok", f"{data} ({_mode(data)}): others can read nothing in it")


def _others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):03o}"


def dependencies(requirements: Path) -> Iterator[Finding]:
    """Whether what is installed is what was pinned and tested together."""
    if not requirements.exists():
        yield Finding("packages", "note", "requirements.txt is not here to compare with", "make setup")
        return
    pins = dict(_pins(requirements))
    other = [f"{name} {found or 'missing'}, pinned {wanted}" for name, wanted in pins.items()
             if (found := _installed(name)) != wanted and not (name == "durable_rules" and found is None)]  # fmt: skip
    if other:
        yield Finding("packages", "wrong", "; ".join(other[:5]), "make setup")
    else:
        yield Finding("packages", "ok", f"{len(pins)} as they are pinned; known weaknesses: `make audit`")


def _pins(requirements: Path) -> Iterator[tuple[str, str]]:
    for line in requirements.read_text().splitlines():
        name, same, wanted = line.split("#")[0].strip().partition("==")
        if same:
            yield name, wanted


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def open_routes() -> Iterator[Finding]:
    """What is answered to somebody who has not signed in."""
    from app.web.gate.roles import RULES

    for right, says, more in (
        ("open", "everybody", ["GET /healthz", "GET /readyz"]),
        ("machine", "callers whom each checks by itself", ["POST /webhooks/stripe (its signature)"]),
    ):
        found = sorted({f"{method} {endpoint}" for (method, endpoint), rule in RULES.items() if rule == right})
        yield Finding(f"answered to {says}", "ok", ", ".join([*found, *more]))


# ---- who comes in ---------------------------------------------------------------------------------------------------
def webhook_secrets(services: Services, settings: Settings) -> Finding:
    from app.services import webhook_secrets as known

    counts = {account: len(secrets) for account, secrets in known(settings, services.secrets)().items()}
    text = ", ".join(f"{account}: {count}" for account, count in sorted(counts.items()))
    if not any(counts.values()):
        state: State = "note" if settings.development else "wrong"
        return Finding("webhook secrets", state, "none: no webhook is taken", "STRIPE_WEBHOOK_SECRET=whsec_...")
    if not settings.development and max(counts.values()) > 1:
        mend = "When Stripe's roll is over, take the old one out of STRIPE_WEBHOOK_SECRET or Settings"
        return Finding("webhook secrets", "note", f"{text}; several are good while one is rolled", mend)
    return Finding("webhook secrets", "ok", text)


def sign_in(services: Services, settings: Settings) -> Finding:
    from app.access import members

    everyone = members.every(services.store)
    ways = [
        *(["OpenID Connect"] if settings.oidc_issuer else []),
        *(["Identity-Aware Proxy"] if settings.iap_audience else []),
        *(["passwords"] if any(one.password for one in everyone) else []),
        *(["the admin token"] if settings.admin_token else []),
        *(["sitting at this machine"] if settings.development else []),
    ]
    text = "by " + ", ".join(ways) if ways else "no way"
    if not settings.development and ways == ["the admin token"]:
        mend = "SIGNALBOX_OIDC_ISSUER and its client, or SIGNALBOX_IAP_AUDIENCE; add members under Settings"
        return Finding("sign-in", "note", f"{text}: everybody is the same person in the audit log", mend)
    return Finding("sign-in", "ok" if ways else "wrong", text, "" if ways else "SIGNALBOX_ADMIN_TOKEN=...")


def people(services: Services, now: datetime) -> Iterator[Finding]:
    from app.access import members

    active = [one for one in members.every(services.store) if one.state == "active"]
    admins = sum("admin" in one.roles for one in active)
    yield Finding("members", "ok", f"{len(active)}, {admins} of them administrators")
    if quiet := [one.email for one in active if _is_quiet(one.signed_in_at or one.created_at, now)]:
        text = f"{len(quiet)} not here for {QUIET.days} days: {', '.join(quiet[:5])}"
        yield Finding("members", "note", text, "Take them out under Settings, Members")


def machines(services: Services, now: datetime) -> Iterator[Finding]:
    from app.access import api_tokens

    good = [one for one in api_tokens.every(services.store) if one.state(now) == "active"]
    quiet = [one.name for one in good if _is_quiet(one.used_on or one.created_at, now)]
    powerful = [one.name for one in good if "admin" in one.rights]
    if quiet or powerful:
        text = "; ".join(
            f"{what}: {', '.join(names[:5])}"
            for what, names in ((f"not used for {QUIET.days} days", quiet), ("may do everything", powerful))
            if names
        )
        yield Finding("api tokens", "note", f"{len(good)}; {text}", "Revoke what is not needed under Settings, Tokens")
    else:
        yield Finding("api tokens", "ok", f"{len(good)} in use")


def _is_quiet(at: str, now: datetime) -> bool:
    seen = instant(at) if at else None
    return seen is None or now - (seen if seen.tzinfo else seen.replace(tzinfo=now.tzinfo)) > QUIET


# ---- what goes out --------------------------------------------------------------------------------------------------
def acting(services: Services, settings: Settings) -> Finding:
    from app.perform import dry_run

    held = [
        *(["read-only: people change nothing"] if settings.read_only else []),
        *(["dry run: nothing is sent"] if settings.dry_run or dry_run.read(services.store)["on"] else []),
    ]
    mend = "Under Settings, or SIGNALBOX_READ_ONLY=0 and SIGNALBOX_DRY_RUN=0"
    return Finding("acting", "note" if held else "ok", "; ".join(held) or "rules act, people may change them",
                   mend if held else "")  # fmt: skip


def second_person(services: Services, settings: Settings, tenant: str) -> Finding:
    from app import tenant_settings

    if not settings.development:
        return Finding(f"{tenant}: second person", "ok", "asked for, as always in production")
    if tenant_settings.read(services.store, tenant).second_person:
        return Finding(f"{tenant}: second person", "ok", "asked for")
    return Finding(f"{tenant}: second person", "note", "not asked for", "Switch it on under Settings, Account")


def connections(services: Services, settings: Settings, tenant: str) -> Iterator[Finding]:
    from app import browse, operate
    from app.connections import live_actions

    found = browse.connections(services.store, tenant)
    plain = [one["name"] for one in found if str(one.get("url") or "").startswith("http://")]
    if plain:
        state: State = "note" if settings.development else "wrong"
        text = f"without encryption: {', '.join(plain)}"
        yield Finding(f"{tenant}: connections", state, text, "Give them https:// addresses under Settings")
    else:
        yield Finding(f"{tenant}: connections", "ok", f"{len(found)}, none without encryption")
    if live_actions.is_live(tenant):
        on = [one["name"] for one in found if live_actions.may_act(one)]
        off = [one["name"] for one in found if not live_actions.may_act(one)]
        text = f"allowed over {', '.join(on) or 'nothing'}; asked first over {', '.join(off) or 'nothing'}"
        yield Finding(f"{tenant}: live actions", "ok", text)
    switches = operate.switches(services.store, tenant)
    stopped = [*(["everything"] if switches["all"] else []), *switches["rules"], *switches["connections"]]
    if stopped:
        yield Finding(f"{tenant}: kill switch", "note", f"stopped: {', '.join(stopped)}", "Let it go under Settings")
    else:
        yield Finding(f"{tenant}: kill switch", "ok", "nothing is stopped")


# ---- what is kept ---------------------------------------------------------------------------------------------------
def vault(services: Services, settings: Settings, now: datetime) -> Finding:
    from app import jobs
    from app.personal import rotating

    wrapped = f"wrapped by {settings.kms_key}" if settings.kms_key else f"not wrapped, in {settings.data / KEYS}"
    mend = "" if settings.kms_key else "Keep backups of the keys apart from those of the data. "
    last = jobs.latest(services.store, SYSTEM, rotating.JOB) if services.rotation else None
    if last is None:
        text = f"{wrapped}; never rotated"
    else:
        text = f"{wrapped}; last rotated {last.body['updated_at'][:10]}, {last.body['state']}"
    old = last is None or now - instant(last.body["updated_at"]) > YEAR
    good = bool(settings.kms_key) and not old
    return Finding(
        "vault", "ok" if good else "note", text, "" if good else f"{mend}python main.py vault rotate --reason yearly"
    )


def retention(services: Services, tenant: str) -> Finding:
    from app.personal import retention as kept

    days, _ = kept.read(services.store, tenant)
    said = ", ".join(f"{sort} {count} days" for sort, count in sorted(days.items()) if count)
    if said:
        return Finding(f"{tenant}: retention", "ok", said)
    text = "personal values are kept until a customer is erased"
    return Finding(f"{tenant}: retention", "note", text, "Set how long under Settings, Personal values")


def audit(services: Services, tenant: str) -> Finding:
    from app.audit import verify

    found = verify.verify(services.store, tenant)
    name = f"{tenant}: audit log"
    if not found.whole:
        text = f"{found.wrong} things are not as they were written; first: {found.broken[0]}"
        return Finding(name, "wrong", text, f"python main.py audit verify --tenant {tenant}")
    until = f"whole and sealed up to {found.until[:19]}Z" if found.until else "nothing is sealed yet"
    more = f"; {found.unsealed} newer entries wait for the next seal" if found.unsealed else ""
    head = f"; its head, to be kept elsewhere: {tenant}={found.anchor}" if found.anchor else ""
    return Finding(name, "ok", f"{found.entries} entries, {until}{more}{head}")
