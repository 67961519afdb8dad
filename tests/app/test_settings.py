"""Settings: what the environment may say, and every problem with it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, SettingsError
from tests.builders import ADMIN_TOKEN as TOKEN

PRODUCTION = {"SIGNALBOX_ENV": "production", "SIGNALBOX_ADMIN_TOKEN": TOKEN}
OIDC = {
    "SIGNALBOX_OIDC_ISSUER": "https://accounts.google.com",
    "SIGNALBOX_OIDC_CLIENT_ID": "signalbox",
    "SIGNALBOX_PUBLIC_URL": "https://box.example",
}
EMULATORS = {
    "GOOGLE_CLOUD_PROJECT": "p",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:2",
}


def test_an_empty_environment_is_a_laptop() -> None:
    settings = Settings.from_env({})
    assert (settings.host, settings.port, settings.backend) == ("127.0.0.1", 8080, "sqlite")
    assert settings.data == Path("data")
    assert settings.development


def test_set_but_empty_means_the_default() -> None:
    assert Settings.from_env({"PORT": "", "STRIPE_API_BASE": " "}) == Settings.from_env({})


def test_rolling_secrets_are_comma_separated_and_stripped() -> None:
    settings = Settings.from_env({"STRIPE_WEBHOOK_SECRET": " whsec_new ,whsec_old\n, "})
    assert settings.stripe_webhook_secrets == ("whsec_new", "whsec_old")


def test_production_listens_everywhere_and_logs_every_station() -> None:
    settings = Settings.from_env({"SIGNALBOX_ENV": "production", "SIGNALBOX_ADMIN_TOKEN": TOKEN})
    assert (settings.host, settings.log) == ("0.0.0.0", "info")


def test_addresses_lose_their_last_slash() -> None:
    assert Settings.from_env({"STRIPE_API_BASE": "http://127.0.0.1:12111/"}).stripe_api_base == "http://127.0.0.1:12111"


def test_every_problem_is_told_at_once() -> None:
    environ = {
        "PORT": "http",
        "SIGNALBOX_BACKEND": "postgres",
        "SIGNALBOX_ENV": "staging",
        "STRIPE_API_BASE": "api.stripe.com",
        "SAMPLE": "perhaps",
        "SIGNALBOX_MATCHER": "rete",
    }
    with pytest.raises(SettingsError) as error:
        Settings.from_env(environ)
    assert all(any(name in problem for problem in error.value.problems) for name in environ)
    assert len(error.value.problems) == len(environ)


@pytest.mark.parametrize("port", ["65536", "-1", "8080.0", "٨٠٨٠", "1_000"])
def test_a_port_is_a_plain_number(port: str) -> None:
    with pytest.raises(SettingsError, match="PORT"):
        Settings.from_env({"PORT": port})


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({**PRODUCTION, "SIGNALBOX_BACKEND": "google"}, "GOOGLE_CLOUD_PROJECT"),
        ({"SIGNALBOX_BACKEND": "google", "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1"}, "both, or neither"),
        ({"SIGNALBOX_BACKEND": "google", "GOOGLE_CLOUD_PROJECT": "p"}, "SIGNALBOX_KMS_KEY"),
        ({**PRODUCTION, "SIGNALBOX_BACKEND": "google", **EMULATORS}, "keep nothing safe"),
        ({"SIGNALBOX_ENV": "production"}, "SIGNALBOX_ADMIN_TOKEN"),
        ({"SIGNALBOX_ENV": "production", "SIGNALBOX_ADMIN_TOKEN": "letmein"}, "can be guessed"),
        ({"SIGNALBOX_OIDC_ISSUER": "https://accounts.google.com"}, "both, or neither"),
        ({"SIGNALBOX_OIDC_CLIENT_ID": "signalbox"}, "both, or neither"),
        ({**PRODUCTION, **OIDC, "SIGNALBOX_PUBLIC_URL": ""}, "SIGNALBOX_PUBLIC_URL"),
        ({**PRODUCTION, **OIDC, "SIGNALBOX_OIDC_ISSUER": "http://issuer.example"}, "https"),
        ({"SIGNALBOX_PROXIES": "-1"}, "from 0 to 9"),
        ({"SIGNALBOX_REQUEST_SECONDS": "0"}, "from 1 to 600"),
        ({"SIGNALBOX_READ_ONLY": "perhaps"}, "SIGNALBOX_READ_ONLY"),
        ({"SIGNALBOX_TRACES": "otlp"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"SIGNALBOX_TRACES": "gcp"}, "GOOGLE_CLOUD_PROJECT"),
        ({"SIGNALBOX_ENV": "production", "SIGNALBOX_ADMIN_TOKEN": TOKEN, "SAMPLE": "1"}, "SAMPLE"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.from_env(environ)


def test_its_text_holds_no_secret() -> None:
    environ = {
        "SIGNALBOX_OIDC_CLIENT_SECRET": "hush-hush",
        "STRIPE_API_KEY": "sk_live_1",
        "STRIPE_WEBHOOK_SECRET": "whsec_1",
        "SIGNALBOX_ADMIN_TOKEN": "t0ken",
    }
    text = repr(Settings.from_env(environ))
    assert not any(value in text for value in environ.values())
