"""Settings: one frozen object, read once from the environment, with every problem reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

Backend = Literal["sqlite", "google", "memory"]
Environment = Literal["development", "production"]
MatcherChoice = Literal["durable", "python", "auto"]
Traces = Literal["auto", "otlp", "gcp", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]


SHORTEST_TOKEN = 16  # characters: out of reach at any rate of guessing, so nothing has to count the tries


class SettingsError(Exception):
    """The environment cannot be used. `problems` holds all of it, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says (DESIGN §8); secrets are read by name through Secrets, never kept here in the clear
    beyond what start-up needs, and never part of the repr."""

    port: int = 8080
    host: str = "127.0.0.1"
    backend: Backend = "sqlite"
    data: Path = Path("data")
    environment: Environment = "development"
    stripe_api_key: str = field(default="", repr=False)
    stripe_webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    stripe_api_base: str = "https://api.stripe.com"
    google_project: str = ""
    firestore_emulator: str = ""  # host:port
    pubsub_emulator: str = ""
    callers: tuple[str, ...] = ()  # service accounts that may push events and ask for a tick
    kms_key: str = ""  # full name of the Cloud KMS key that wraps the vault's keys
    otlp_endpoint: str = ""
    admin_token: str = field(default="", repr=False)
    oidc_issuer: str = ""  # who signs people in by OpenID Connect, such as https://accounts.google.com
    oidc_client_id: str = ""
    oidc_client_secret: str = field(default="", repr=False)
    iap_audience: str = ""  # of Identity-Aware Proxy's assertions: `/projects/NUMBER/global/backendServices/ID`
    request_seconds: int = 30  # that a page or a call of the API may take before it has changed anything
    proxies: int = 0  # in front of this server, each of which adds whom it heard to X-Forwarded-For
    read_only: bool = False  # people change nothing; webhooks, runs and actions go on
    sample: bool = False
    dry_run: bool = False  # decide as if live, send nothing; the switch on the pages cannot end it
    matcher: MatcherChoice = "auto"
    traces: Traces = "auto"
    public_url: str = ""  # where these pages are for others; links in notices begin with it
    stand_in: bool = False  # STRIPE_API_BASE is the built-in stand-in for Stripe, not Stripe
    log: LogLevel = "warning"

    @property
    def development(self) -> bool:
        return self.environment == "development"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the environment; raises SettingsError with every problem. Unset and empty mean the default."""
        read = _Reader(environ)
        environment = cast(Environment, read.choice("SIGNALBOX_ENV", "development", "production"))
        quiet = "warning" if environment == "development" else "info"
        settings = cls(
            port=read.port("PORT", 8080),
            # Production listens on every interface because Cloud Run requires it; a laptop only on loopback.
            host=read.text("SIGNALBOX_HOST", "127.0.0.1" if environment == "development" else "0.0.0.0"),  # noqa: S104  compared with, or what Cloud Run requires
            backend=cast(Backend, read.choice("SIGNALBOX_BACKEND", "sqlite", "google", "memory")),
            data=Path(read.text("SIGNALBOX_DATA", "data")),
            environment=environment,
            stripe_api_key=read.text("STRIPE_API_KEY"),
            stripe_webhook_secrets=read.several("STRIPE_WEBHOOK_SECRET"),
            stripe_api_base=read.url("STRIPE_API_BASE", "https://api.stripe.com"),
            google_project=read.text("GOOGLE_CLOUD_PROJECT"),
            firestore_emulator=read.text("FIRESTORE_EMULATOR_HOST"),
            pubsub_emulator=read.text("PUBSUB_EMULATOR_HOST"),
            callers=read.several("SIGNALBOX_CALLERS"),
            kms_key=read.text("SIGNALBOX_KMS_KEY"),
            otlp_endpoint=read.url("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            admin_token=read.text("SIGNALBOX_ADMIN_TOKEN"),
            oidc_issuer=read.url("SIGNALBOX_OIDC_ISSUER", ""),
            oidc_client_id=read.text("SIGNALBOX_OIDC_CLIENT_ID"),
            oidc_client_secret=read.text("SIGNALBOX_OIDC_CLIENT_SECRET"),
            iap_audience=read.text("SIGNALBOX_IAP_AUDIENCE"),
            request_seconds=read.number("SIGNALBOX_REQUEST_SECONDS", 30, 600, least=1),
            proxies=read.number("SIGNALBOX_PROXIES", 0, 9),
            read_only=read.flag("SIGNALBOX_READ_ONLY"),
            sample=read.flag("SAMPLE"),
            dry_run=read.flag("SIGNALBOX_DRY_RUN"),
            matcher=cast(MatcherChoice, read.choice("SIGNALBOX_MATCHER", "auto", "durable", "python")),
            traces=cast(Traces, read.choice("SIGNALBOX_TRACES", "auto", "otlp", "gcp", "off")),
            public_url=read.url("SIGNALBOX_PUBLIC_URL", ""),
            stand_in=read.flag("SIGNALBOX_STAND_IN"),
            log=cast(LogLevel, read.choice("SIGNALBOX_LOG", quiet, "debug", "info", "warning", "error")),
        )
        problems = [*read.problems, *_contradictions(settings)]
        if problems:
            raise SettingsError(problems)
        return settings


class _Reader:
    """Reads one variable at a time and keeps what was wrong with it; never quotes a value that may be secret."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        return self._environ.get(name, "").strip() or default

    def several(self, name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def flag(self, name: str) -> bool:
        value = self.text(name, "0").lower()
        if value not in ("0", "1", "true", "false", "yes", "no"):
            self.problems.append(f"{name} is {value!r}; write 1 or 0")
        return value in ("1", "true", "yes")

    def choice(self, name: str, default: str, *others: str) -> str:
        value = self.text(name, default)
        if value in (default, *others):
            return value
        self.problems.append(f"{name} is {value!r}; choose one of {', '.join((default, *others))}")
        return default

    def port(self, name: str, default: int) -> int:
        value = self.text(name, str(default))
        if value.isascii() and value.isdigit() and 0 <= int(value) <= 65535:
            return int(value)
        self.problems.append(f"{name} is {value!r}; write a number from 0 to 65535 (0 takes any free port)")
        return default

    def number(self, name: str, default: int, most: int, least: int = 0) -> int:
        value = self.text(name, str(default))
        if value.isascii() and value.isdigit() and least <= int(value) <= most:
            return int(value)
        self.problems.append(f"{name} is {value!r}; write a number from {least} to {most}")
        return default

    def url(self, name: str, default: str) -> str:
        value = self.text(name, default)
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme in ("http", "https") and parts.hostname:
            return value.rstrip("/")
        self.problems.append(f"{name} is no http or https address")
        return default


def _contradictions(settings: Settings) -> list[str]:
    problems = [] if settings.backend != "google" else _google_problems(settings)
    if settings.environment == "production" and not settings.admin_token:
        problems.append("SIGNALBOX_ENV=production needs SIGNALBOX_ADMIN_TOKEN, the first administrator's token")
    problems += _sign_in_problems(settings)
    if settings.traces == "otlp" and not settings.otlp_endpoint:
        problems.append("SIGNALBOX_TRACES=otlp needs OTEL_EXPORTER_OTLP_ENDPOINT")
    if settings.traces == "gcp" and not settings.google_project:
        problems.append("SIGNALBOX_TRACES=gcp needs GOOGLE_CLOUD_PROJECT")
    if settings.environment == "production" and 0 < len(settings.admin_token) < SHORTEST_TOKEN:
        problems.append(f"SIGNALBOX_ADMIN_TOKEN can be guessed: give it at least {SHORTEST_TOKEN} random characters")
    if settings.environment == "production" and settings.sample:
        problems.append("SAMPLE=1 plays a made-up business and is for SIGNALBOX_ENV=development only")
    return problems


def _sign_in_problems(settings: Settings) -> list[str]:
    problems = []
    if bool(settings.oidc_issuer) != bool(settings.oidc_client_id):
        problems.append("set SIGNALBOX_OIDC_ISSUER and SIGNALBOX_OIDC_CLIENT_ID both, or neither")
    if settings.oidc_issuer.startswith("http:") and not settings.development:
        problems.append("SIGNALBOX_OIDC_ISSUER has to begin with https: whoever changes its answers could be anybody")
    if settings.oidc_issuer and not settings.public_url and not settings.development:
        problems.append("SIGNALBOX_OIDC_ISSUER needs SIGNALBOX_PUBLIC_URL, the address that the issuer sends people to")
    return problems


def _google_problems(settings: Settings) -> list[str]:
    problems = []
    emulators = (settings.firestore_emulator, settings.pubsub_emulator)
    if not settings.google_project and not settings.development:
        problems.append("SIGNALBOX_BACKEND=google needs GOOGLE_CLOUD_PROJECT")
    if any(emulators) != all(emulators):
        problems.append("set FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST both, or neither")
    if any(emulators) and not settings.development:
        problems.append("the emulators keep nothing safe: they are for SIGNALBOX_ENV=development only")
    if settings.google_project and not any(emulators) and not settings.kms_key:
        problems.append("SIGNALBOX_BACKEND=google needs SIGNALBOX_KMS_KEY, the key that wraps the vault's keys")
    return problems
