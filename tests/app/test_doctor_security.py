"""The doctor on security: each thing that can be wrong is found, said without a secret, with what mends it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import main
from app import operate, tenant_settings
from app.access import api_tokens, members
from app.adapters.passwords import Argon2Passwords
from app.audit import entry, seal
from app.doctor import security
from app.doctor.finding import Finding
from app.perform import dry_run
from app.personal import retention
from app.services import Services
from app.settings import Settings
from rules.ports import Put
from tests.builders import NOON, TENANT, services_in_memory
from tests.hostile.haunted import SECRET, haunted

SOUND: dict[str, Any] = {
    "environment": "production",
    "public_url": "https://signalbox.example.com",
    "admin_token": "a" * 40,
    "stripe_api_key": "rk_test_made_up",
    "kms_key": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    "oidc_issuer": "https://accounts.google.com",
}


def look(services: Services) -> dict[str, Finding]:
    """By name, the worst of each."""
    found: dict[str, Finding] = {}
    for one in security.examine(services.settings, lambda: services, NOON):
        if one.name not in found or found[one.name].state == "ok":
            found[one.name] = one
    return found


def of(**settings: Any) -> dict[str, Finding]:
    return look(services_in_memory(**{**SOUND, **settings}))


def test_a_sound_installation_has_nothing_wrong() -> None:
    assert [one for one in of().values() if one.state == "wrong"] == []


@pytest.mark.parametrize(
    ("settings", "name", "state"),
    [
        ({"environment": "development"}, "environment", "note"),
        ({"environment": "development", "host": "0.0.0.0"}, "environment", "wrong"),
        ({"public_url": ""}, "https", "wrong"),
        ({"public_url": "http://signalbox.example.com"}, "https", "wrong"),
        ({}, "requests", "ok"),
        ({"request_seconds": 600}, "requests", "note"),
        ({"admin_token": "short"}, "admin token", "wrong"),
        ({"admin_token": "a" * 20}, "admin token", "note"),
        ({"admin_token": ""}, "admin token", "ok"),
        ({"stripe_api_key": "sk_live_everything"}, "stripe key", "note"),
        ({"stripe_api_base": "http://127.0.0.1:9"}, "stripe address", "wrong"),
        ({"stripe_webhook_secrets": ()}, "webhook secrets", "wrong"),
        ({"stripe_webhook_secrets": ("whsec_a", "whsec_b")}, "webhook secrets", "note"),
        ({"oidc_issuer": ""}, "sign-in", "note"),
        ({"oidc_issuer": "", "admin_token": ""}, "sign-in", "wrong"),
        ({"read_only": True}, "acting", "note"),
        ({"dry_run": True}, "acting", "note"),
        ({"kms_key": ""}, "vault", "note"),
        ({}, f"{TENANT}: retention", "note"),
        ({"environment": "development"}, f"{TENANT}: second person", "note"),
        ({}, f"{TENANT}: second person", "ok"),
    ],
)
def test_what_the_environment_says_is_judged_and_its_mend_is_said(settings: Any, name: str, state: str) -> None:
    found = of(**settings)[name]
    assert found.state == state, found
    assert (found.mend != "") == (state != "ok")


def test_who_is_not_here_any_more_is_named() -> None:
    services, hasher = services_in_memory(**SOUND), Argon2Passwords()
    long_ago = NOON - timedelta(days=200)
    members.add(services.store, hasher, {"email": "gone@example.com", "roles": ["admin"]}, "ada", long_ago)
    members.add(services.store, hasher, {"email": "here@example.com", "roles": ["viewer"]}, "ada", NOON)
    found = look(services)["members"]
    assert found.state == "note"
    assert "gone@example.com" in found.text
    assert "here@example.com" not in found.text


def test_tokens_that_may_do_everything_are_named() -> None:
    services = services_in_memory(**SOUND)
    api_tokens.make(services.store, {"name": "nightly", "rights": ["admin"], "days": 30}, "ada", NOON)
    assert "nightly" in look(services)["api tokens"].text


def test_switches_are_seen() -> None:
    services = services_in_memory(**SOUND)
    operate.switch(services.store, TENANT, "all", True, "ada", "test", NOON)
    dry_run.switch(services.store, TENANT, True, "ada", "test", NOON)
    found = look(services)
    assert "everything" in found[f"{TENANT}: kill switch"].text
    assert "dry run" in found["acting"].text


def test_a_connection_without_encryption_is_wrong_in_production() -> None:
    services = services_in_memory(**SOUND)
    body = {"name": "crm", "type": "webhook", "url": "http://crm.example.com", "state": "on", "created_at": "2026"}
    services.store.commit(TENANT, None, [Put("connection", "crm", body)])
    assert look(services)[f"{TENANT}: connections"].state == "wrong"


def test_live_actions_are_told_by_connection() -> None:
    services = services_in_memory(**SOUND)
    live = "default/live"
    services.store.commit("system", None, [Put("tenant", live, {"id": live, "created_at": "2026"})])
    base = {"type": "webhook", "url": "https://x", "state": "on", "created_at": "2026"}
    for name, on in (("crm", True), ("new", False)):
        services.store.commit(live, None, [Put("connection", name, {"name": name, **base, "live_actions": on})])
    assert look(services)[f"{live}: live actions"].text == "allowed over crm; asked first over new"


def test_retention_and_second_person_that_are_set_are_ok() -> None:
    services = services_in_memory(**{**SOUND, "environment": "development"})
    retention.save(services.store, TENANT, {"ip": 30}, "ada", NOON)
    tenant_settings.save(services.store, TENANT, {"second_person": True}, "ada", NOON)
    found = look(services)
    assert (found[f"{TENANT}: retention"].state, found[f"{TENANT}: retention"].text) == ("ok", "ip 30 days")
    assert found[f"{TENANT}: second person"].state == "ok"


def test_an_audit_log_that_was_changed_is_wrong() -> None:
    services = services_in_memory(**SOUND)
    services.store.commit(TENANT, None, [entry(NOON, "ada", "publish", "rule", None, 1)])
    assert seal.seal(services.store, TENANT, NOON + timedelta(hours=1))
    head = seal.head(services.store, TENANT)
    assert head
    said = look(services)[f"{TENANT}: audit log"].text
    assert "sealed up to" in said
    assert f"{TENANT}={head.anchor}" in said
    kept = services.store._documents[(TENANT, "audit")]  # type: ignore[attr-defined]
    for id, written in kept.items():
        kept[id] = replace(written, stored=written.stored.replace(b"ada", b"eve"))
    assert look(services)[f"{TENANT}: audit log"].state == "wrong"


# ---- the machine ----------------------------------------------------------------------------------------------------
def test_a_folder_that_others_can_read_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "store.db").write_text("")
    (folder / "store.db").chmod(0o644)
    (folder / "keys.json").write_text("{}")
    (folder / "keys.json").chmod(0o640)
    found = {one.name: one for one in security.modes(folder)}
    assert (found["keys"].state, found["keys"].mend) == ("wrong", f"chmod 600 {folder / 'keys.json'}")
    assert (found["data folder"].state, found["data folder"].mend) == ("wrong", f"chmod 700 {folder}")
    folder.chmod(0o700)
    (folder / "keys.json").chmod(0o600)
    assert {one.state for one in security.modes(folder)} == {"ok"}


def test_a_package_that_is_not_as_pinned_is_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("Flask==0.1  # old\nnot-there==1\ndurable_rules==2.0.28\n")
    found = next(security.dependencies(tmp_path / "requirements.txt"))
    assert found.state == "wrong"
    assert "Flask" in found.text
    assert "not-there missing" in found.text


def test_every_open_route_is_listed() -> None:
    found = {one.name: one.text for one in security.open_routes()}
    assert "POST signin.sign_in" in found["answered to everybody"]
    assert "POST tasks.push" in found["answered to callers whom each checks by itself"]


def test_no_line_tells_a_secret() -> None:
    with haunted() as home:
        said = [str(one) for one in security.examine(home.services.settings, lambda: home.services, NOON)]
    assert len(said) > 15
    assert [line for line in said if SECRET in line] == []


def run(folder: Path, *words: str, **settings: Any) -> int:
    given = main.parser().parse_args(["doctor", "--security", *words])
    return int(given.run(given, Settings(data=folder / "data", matcher="python", **settings)) or 0)


def test_the_command_prints_a_line_each_and_ends_with_1_when_one_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, admin_token="a" * 40) == 0
    said = capsys.readouterr().out
    assert "look at this  environment: development" in said
    assert "              -> SIGNALBOX_ENV=production" in said
    assert "ok            packages: " in said
    assert run(tmp_path, admin_token="short") == 1
    assert "WRONG         admin token: 5 characters" in capsys.readouterr().out
    assert run(tmp_path, "--json", admin_token="a" * 40) == 0
    assert {one["state"] for one in json.loads(capsys.readouterr().out)} <= {"ok", "note", "wrong"}
