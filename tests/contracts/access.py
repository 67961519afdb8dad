"""Promises about members, sessions, tokens and attempts, which every store must keep, whoever else comes just then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app.access import api_tokens, attempts, members, sessions
from app.access.attempts import Attempt
from app.access.members import Member
from app.adapters.passwords import Argon2Passwords
from rules.event import iso
from rules.kinds import SYSTEM
from rules.ports import Conflict, Identity, Put, Refused, Store, Write
from tests.builders import NOON

PASSWORDS = Argon2Passwords()
PASSWORD = "seven boats on a lake"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GOOGLE = Identity("https://accounts.google.com", "1234", "ada@example.com", "Ada")


def add(store: Store, email: str = "ada@example.com", *roles: str, **more: Any) -> Member:
    given = {"email": email, "roles": roles or ("operator",), **more}
    return members.add(store, PASSWORDS, given, "root", NOON)


def verbs(store: Store) -> list[str]:
    return [one.body["verb"] for one in store.find(SYSTEM, "audit", order="at", limit=100).items]


class Meddling:
    """A store in which something happens just before the next commit."""

    def __init__(self, store: Store, meanwhile: Callable[[], object]) -> None:
        self._store = store
        self._meanwhile = [meanwhile]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, tenant: str, event: Put | None, writes: list[Write]) -> None:
        while self._meanwhile:
            self._meanwhile.pop()()
        self._store.commit(tenant, event, writes)


class AccessContract:
    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    # ---- members ----------------------------------------------------------------------------------------------------
    def test_an_address_is_one_member_however_it_is_written(self, store: Store) -> None:
        made = add(store, "Ada@Example.COM ")
        assert made.email == "ada@example.com"
        with pytest.raises(Conflict, match="is a member already"):
            add(store, "ADA@example.com")
        assert members.by_email(store, " aDa@example.com") == made

    def test_a_password_is_kept_as_argon2id_and_shown_nowhere(self, store: Store) -> None:
        made = add(store, password=PASSWORD)
        kept = store.get(SYSTEM, "member", made.id)
        assert kept is not None
        assert kept.body["password"].startswith("$argon2id$")
        assert PASSWORD not in str(kept.body)
        assert "argon2" not in repr(made)
        assert "argon2" not in str(made.shown())
        assert "argon2" not in str([one.body for one in store.find(SYSTEM, "audit", order="at").items])

    def test_only_the_right_password_of_somebody_who_may_come_in_holds(self, store: Store) -> None:
        made = add(store, password=PASSWORD)
        assert members.with_password(store, PASSWORDS, "ada@example.com", PASSWORD) == made
        assert members.with_password(store, PASSWORDS, "ada@example.com", PASSWORD + "!") is None
        assert members.with_password(store, PASSWORDS, "bo@example.com", PASSWORD) is None
        members.change(store, made.id, {"state": "disabled"}, "root", NOON)
        assert members.with_password(store, PASSWORDS, "ada@example.com", PASSWORD) is None

    def test_who_has_no_password_cannot_come_in_with_the_decoys(self, store: Store) -> None:
        add(store)
        assert members.with_password(store, PASSWORDS, "ada@example.com", "") is None

    def test_the_first_member_is_one_even_when_two_set_up_at_once(self, store: Store) -> None:
        other = {"email": "bo@example.com", "roles": ["admin"]}
        late = Meddling(store, lambda: members.add(store, PASSWORDS, other, "set-up", NOON, first=True))
        with pytest.raises(Conflict, match="set up meanwhile"):
            members.add(late, PASSWORDS, {"email": "ada@example.com", "roles": ["admin"]}, "x", NOON, first=True)
        assert [one.email for one in members.every(store)] == ["bo@example.com"]

    # ---- issuers ----------------------------------------------------------------------------------------------------
    def test_an_issuer_names_a_member_by_the_verified_address_and_then_by_its_subject(self, store: Store) -> None:
        made = add(store)
        assert members.of_identity(store, GOOGLE) == made
        sessions.begin(store, made, "openid", NOON, GOOGLE)
        moved = Identity(GOOGLE.issuer, GOOGLE.subject, "ada@married.example")
        assert members.of_identity(store, moved).id == made.id

    def test_an_address_that_passed_to_another_account_is_not_the_member(self, store: Store) -> None:
        sessions.begin(store, add(store), "openid", NOON, GOOGLE)
        heir = Identity(GOOGLE.issuer, "5678", GOOGLE.email)
        with pytest.raises(Refused, match="another account"):
            members.of_identity(store, heir)
        members.forget_issuers(store, members.member_id(GOOGLE.email), "root", NOON)
        assert members.of_identity(store, heir).email == GOOGLE.email

    def test_the_same_subject_at_another_issuer_is_somebody_else(self, store: Store) -> None:
        sessions.begin(store, add(store), "openid", NOON, GOOGLE)
        with pytest.raises(Refused, match="no member"):
            members.of_identity(store, Identity("https://evil.example", GOOGLE.subject))

    def test_an_address_that_is_not_verified_names_nobody(self, store: Store) -> None:
        add(store)
        with pytest.raises(Refused, match="not verified"):
            members.of_identity(store, Identity(GOOGLE.issuer, "9"))

    # ---- sessions ---------------------------------------------------------------------------------------------------
    def test_a_session_knows_the_member_and_the_store_does_not_know_the_cookie(self, store: Store) -> None:
        secret = sessions.begin(store, add(store), "password", NOON)
        found = sessions.find(store, secret, NOON)
        assert found is not None
        assert (found.actor, found.roles) == ("ada@example.com", ("operator",))
        assert secret not in str([one.body for one in store.find(SYSTEM, "session").items])
        assert sessions.find(store, found.id, NOON) is None  # what the store knows opens nothing

    def test_a_session_ends_two_hours_after_the_last_request_and_twelve_after_the_first(self, store: Store) -> None:
        secret = sessions.begin(store, add(store), "password", NOON)
        assert sessions.find(store, secret, NOON + 2 * HOUR) is None
        for hour in range(12):
            assert sessions.find(store, secret, NOON + hour * HOUR) is not None
        assert sessions.find(store, secret, NOON + 12 * HOUR) is None

    def test_signing_out_ends_it_for_every_copy(self, store: Store) -> None:
        secret = sessions.begin(store, add(store), "password", NOON)
        found = sessions.find(store, secret, NOON)
        assert found is not None
        sessions.end(store, found, NOON)
        assert sessions.find(store, secret, NOON) is None

    def test_other_roles_are_the_sessions_at_once(self, store: Store) -> None:
        made = add(store)
        secrets = [sessions.begin(store, made, "password", NOON) for _ in range(3)]
        members.change(store, made.id, {"roles": ["viewer"]}, "root", NOON)
        assert {found.roles for s in secrets if (found := sessions.find(store, s, NOON))} == {("viewer",)}

    @pytest.mark.parametrize("how", ["disable", "password", "end"])
    def test_who_is_disabled_or_has_a_new_password_is_signed_out_at_once(self, store: Store, how: str) -> None:
        made, other = add(store), add(store, "bo@example.com")
        own, bos = (sessions.begin(store, one, "password", NOON) for one in (made, other))
        if how == "disable":
            members.change(store, made.id, {"state": "disabled"}, "root", NOON)
        elif how == "password":
            members.set_password(store, PASSWORDS, made.id, PASSWORD, "root", NOON)
        else:
            members.end_sessions(store, made.id, "root", NOON)
        assert sessions.find(store, own, NOON) is None
        assert sessions.find(store, bos, NOON) is not None

    def test_who_changes_the_own_password_stays_here_and_is_signed_out_elsewhere(self, store: Store) -> None:
        made = add(store)
        here, there = (sessions.begin(store, made, "password", NOON) for _ in "12")
        members.set_password(store, PASSWORDS, made.id, PASSWORD, "ada@example.com", NOON, keep=sessions.digest(here))
        assert sessions.find(store, here, NOON) is not None
        assert sessions.find(store, there, NOON) is None

    def test_no_session_slips_past_a_change_of_roles_at_the_same_moment(self, store: Store) -> None:
        made = add(store)
        late = Meddling(store, lambda: members.change(store, made.id, {"roles": ["viewer"]}, "root", NOON))
        found = sessions.find(store, sessions.begin(late, made, "password", NOON), NOON)
        assert found is not None
        assert found.roles == ("viewer",)

    def test_no_session_slips_past_a_disabling_at_the_same_moment(self, store: Store) -> None:
        made = add(store)
        begun: list[str] = []
        late = Meddling(store, lambda: begun.append(sessions.begin(store, made, "password", NOON)))
        members.change(late, made.id, {"state": "disabled"}, "root", NOON)
        assert [sessions.find(store, secret, NOON) for secret in begun] == [None]
        with pytest.raises(Refused):
            sessions.begin(store, made, "password", NOON)

    def test_a_request_seldom_writes(self, store: Store) -> None:
        secret = sessions.begin(store, add(store), "password", NOON)
        (before,) = store.find(SYSTEM, "session").items
        sessions.find(store, secret, NOON + 4 * MINUTE)
        assert store.find(SYSTEM, "session").items == (before,)
        sessions.find(store, secret, NOON + 5 * MINUTE)
        (after,) = store.find(SYSTEM, "session").items
        assert after.body["seen_at"] > before.body["seen_at"]

    def test_a_member_has_at_most_twenty_sessions_and_those_that_are_over_go(self, store: Store) -> None:
        made = add(store)
        secrets = [sessions.begin(store, made, "password", NOON + n * timedelta(seconds=1)) for n in range(22)]
        assert len(store.find(SYSTEM, "session").items) == sessions.MOST
        assert sessions.find(store, secrets[0], NOON + MINUTE) is None
        assert sessions.find(store, secrets[-1], NOON + MINUTE) is not None
        sessions.begin(store, made, "password", NOON + DAY)
        assert len(store.find(SYSTEM, "session").items) == 1

    def test_a_session_that_is_ended_while_its_use_is_noted_stays_ended(self, store: Store) -> None:
        secret = sessions.begin(store, add(store), "password", NOON)
        later = NOON + sessions.NOTED
        known = sessions.find(store, secret, NOON)
        assert known is not None
        assert sessions.find(Meddling(store, lambda: sessions.end(store, known, later)), secret, later) is not None
        assert sessions.find(store, secret, later) is None

    def test_who_signs_in_with_a_password_that_was_just_replaced_does_not_come_in(self, store: Store) -> None:
        known = add(store, password=PASSWORD)
        members.set_password(store, PASSWORDS, known.id, "another seven boats", "root", NOON)
        with pytest.raises(Refused):
            sessions.begin(store, known, "password", NOON)

    def test_the_sessions_of_a_member_are_told_as_long_as_they_last(self, store: Store) -> None:
        made = add(store)
        sessions.begin(store, made, "password", NOON)
        sessions.begin(store, made, "password", NOON + HOUR)
        assert len(sessions.of_member(store, made.id, NOON + HOUR)) == 2
        assert len(sessions.of_member(store, made.id, NOON + sessions.IDLE)) == 1

    def test_who_is_to_be_another_account_at_an_issuer_is_signed_out_and_the_record_tells_where(
        self, store: Store
    ) -> None:
        made = add(store)
        secret = sessions.begin(store, made, "openid", NOON, GOOGLE)
        members.forget_issuers(store, made.id, "root", NOON + MINUTE, "another account")
        assert sessions.find(store, secret, NOON + MINUTE) is None
        (forgot,) = (one.body for one in store.find(SYSTEM, "audit", order="at").items if one.body["why"])
        assert (forgot["from"]["issuers"], forgot["to"]["issuers"]) == ([GOOGLE.issuer], [])

    # ---- tokens -----------------------------------------------------------------------------------------------------
    def test_a_token_is_found_by_its_public_part_and_kept_as_a_digest(self, store: Store) -> None:
        made, text = api_tokens.make(store, {"name": "etl", "rights": ["author"], "days": 7}, "root", NOON)
        assert text.startswith(f"sbx_{made.id}_")
        found = api_tokens.check(store, text, NOON)
        assert found is not None
        assert (found.name, found.rights, found.actor) == ("etl", ("author",), "token etl")
        secret = text.split("_", 2)[2]
        assert secret not in str([one.body for one in store.find(SYSTEM, "api_token").items])
        assert api_tokens.check(store, text[:-1] + ("A" if text[-1] != "A" else "B"), NOON) is None
        assert api_tokens.check(store, "sbx_" + "0" * 16 + text[20:], NOON) is None

    def test_a_token_ends_on_its_day_or_when_it_is_revoked(self, store: Store) -> None:
        made, text = api_tokens.make(store, {"name": "etl", "rights": ["read"], "days": 7}, "root", NOON)
        assert api_tokens.check(store, text, NOON + 7 * DAY - MINUTE) is not None
        assert api_tokens.check(store, text, NOON + 7 * DAY) is None
        api_tokens.revoke(store, made.id, "root", NOON)
        assert api_tokens.check(store, text, NOON) is None
        assert [one.shown(NOON)["state"] for one in api_tokens.every(store)] == ["revoked"]

    def test_the_last_day_of_use_is_noted_once_a_day_and_brings_no_revoked_token_back(self, store: Store) -> None:
        made, text = api_tokens.make(store, {"name": "etl", "rights": ["read"]}, "root", NOON)
        late = Meddling(store, lambda: api_tokens.revoke(store, made.id, "root", NOON))
        api_tokens.check(late, text, NOON)
        assert api_tokens.check(store, text, NOON) is None
        other, text = api_tokens.make(store, {"name": "etl2", "rights": ["read"]}, "root", NOON)
        api_tokens.check(store, text, NOON + DAY)
        first = store.get(SYSTEM, "api_token", other.id)
        api_tokens.check(store, text, NOON + DAY + MINUTE)
        assert first is not None
        assert first.body["used_on"] == "2026-11-24"
        assert store.get(SYSTEM, "api_token", other.id) == first

    def test_a_token_that_two_revoke_at_once_is_revoked_once(self, store: Store) -> None:
        made, _ = api_tokens.make(store, {"name": "etl", "rights": ["read"]}, "root", NOON)
        late = Meddling(store, lambda: api_tokens.revoke(store, made.id, "root", NOON))
        with pytest.raises(Conflict):
            api_tokens.revoke(late, made.id, "kim", NOON)
        assert verbs(store) == ["make token", "revoke token"]

    # ---- attempts ---------------------------------------------------------------------------------------------------
    def test_eight_failures_of_an_account_in_a_quarter_of_an_hour_are_all(self, store: Store) -> None:
        for n in range(8):
            assert isinstance(attempts.begin(store, "p", NOON, account="ada", address=f"a{n}"), Attempt)
        assert attempts.begin(store, "p", NOON, account="ada", address="b") == attempts.WINDOW
        assert isinstance(attempts.begin(store, "p", NOON, account="bo", address="b"), Attempt)
        later = NOON + attempts.WINDOW
        assert isinstance(attempts.begin(store, "p", later, account="ada", address="b"), Attempt)

    def test_an_address_that_tries_many_accounts_is_stopped_too(self, store: Store) -> None:
        for n in range(30):
            assert isinstance(attempts.begin(store, "p", NOON, account=f"{n}", address="a"), Attempt)
        assert attempts.begin(store, "p", NOON, account="new", address="a") == attempts.WINDOW

    def test_a_success_forgives_the_account_and_only_itself_of_the_address(self, store: Store) -> None:
        for n in range(29):
            attempts.begin(store, "p", NOON + n * timedelta(seconds=1), account=f"{n}", address="a")
        good = attempts.begin(store, "p", NOON + MINUTE, account="own", address="a")
        assert isinstance(good, Attempt)
        attempts.forgive(store, good)
        assert isinstance(attempts.begin(store, "p", NOON + MINUTE, account="x", address="a"), Attempt)
        assert isinstance(attempts.begin(store, "p", NOON + MINUTE, account="y", address="a"), timedelta)

    def test_guesses_at_once_are_no_more_than_one_after_the_other(self, store: Store) -> None:
        let: list[object] = []

        def guess(n: int) -> None:
            let.append(attempts.begin(store, "p", NOON, account="ada", address=f"a{n}"))

        threads = [threading.Thread(target=guess, args=(n,)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(one, Attempt) for one in let) <= 8

    def test_what_was_typed_cannot_be_read_from_the_store_and_goes_when_it_is_over(self, store: Store) -> None:
        attempts.begin(store, "p", NOON, account="my password by mistake", address="10.0.0.1")
        kept = store.find(SYSTEM, "attempt", order="until").items
        assert "mistake" not in str(kept)
        assert "10.0.0.1" not in str(kept)
        attempts.begin(store, "p", NOON + HOUR, account="x", address="y")
        assert len(store.find(SYSTEM, "attempt", order="until").items) == 2

    def test_after_a_while_without_attempts_the_first_counts_like_the_others(self, store: Store) -> None:
        attempts.begin(store, "p", NOON, account="ada", address="a")
        for n in range(8):
            assert isinstance(attempts.begin(store, "p", NOON + HOUR, account="ada", address=f"a{n}"), Attempt)
        assert isinstance(attempts.begin(store, "p", NOON + HOUR, account="ada", address="b"), timedelta)

    def test_who_is_stopped_by_the_account_and_the_address_waits_for_both(self, store: Store) -> None:
        for n in range(8):
            attempts.begin(store, "p", NOON, account="ada", address=f"a{n}")
        for n in range(30):
            attempts.begin(store, "p", NOON + 5 * MINUTE, account=f"{n}", address="a")
        assert attempts.begin(store, "p", NOON + 5 * MINUTE, account="ada", address="a") == attempts.WINDOW

    def test_another_installation_counts_the_same_account_under_another_name(self, store: Store) -> None:
        one = attempts.begin(store, "pepper", NOON, account="ada")
        other = attempts.begin(store, "salt", NOON, account="ada")
        assert isinstance(one, Attempt)
        assert isinstance(other, Attempt)
        assert one.keys != other.keys

    # ---- the record -------------------------------------------------------------------------------------------------
    def test_the_record_of_a_token_tells_what_it_may_and_nothing_of_its_secret(self, store: Store) -> None:
        api_tokens.make(store, {"name": "etl", "rights": ["read"], "days": 7}, "root", NOON)
        (made,) = (one.body for one in store.find(SYSTEM, "audit", order="at").items)
        assert made["to"] == {"name": "etl", "rights": ["read"], "until": iso(NOON + 7 * DAY)}

    def test_every_change_is_in_the_audit_log(self, store: Store) -> None:
        made = add(store)
        secret = sessions.begin(store, made, "password", NOON + MINUTE)
        members.change(store, made.id, {"roles": ["admin"]}, "root", NOON + 2 * MINUTE, "promoted")
        members.set_password(store, PASSWORDS, made.id, PASSWORD, "root", NOON + 3 * MINUTE, sessions.digest(secret))
        found = sessions.find(store, secret, NOON + 4 * MINUTE)
        assert found is not None
        sessions.end(store, found, NOON + 4 * MINUTE)
        token, _ = api_tokens.make(store, {"name": "etl", "rights": ["read"]}, "root", NOON + 5 * MINUTE)
        api_tokens.revoke(store, token.id, "root", NOON + 6 * MINUTE)
        assert verbs(store) == [
            "add member", "sign in", "change member", "set password", "sign out", "make token", "revoke token",
        ]  # fmt: skip
        (change,) = (one.body for one in store.find(SYSTEM, "audit", order="at").items if one.body["why"])
        assert (change["from"]["roles"], change["to"]["roles"]) == (["operator"], ["admin"])
