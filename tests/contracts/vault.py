"""What every Vault and every Secrets promises."""

from __future__ import annotations

import pytest

from rules.ports import Refused, Secrets, Vault

A, B = "default/live", "default/test"
ADA = "ada@Example.COM"


def look(vault: Vault, tenant: str, token: str) -> str | None:
    return vault.reveal(tenant, token, "kim", "a customer asked")


class VaultContract:
    """Subclasses give a fixture `vault`."""

    def test_tenants_share_neither_tokens_nor_values(self, vault: Vault) -> None:
        (here,) = vault.tokenise(A, "cus_1", [ADA])
        (there,) = vault.tokenise(B, "cus_1", [ADA])
        assert here != there
        assert look(vault, A, here) == look(vault, B, there) == ADA
        assert look(vault, A, there) is None
        assert vault.erase(A, "cus_1") == 1
        assert look(vault, A, here) is None
        assert look(vault, B, there) == ADA

    def test_the_same_value_has_the_same_token_for_ever(self, vault: Vault) -> None:
        first = vault.tokenise(A, "cus_1", [ADA, "Ada"])
        assert vault.tokenise(A, "cus_1", ["Ada", ADA]) == first[::-1]
        assert vault.tokenise(A, "cus_2", [ADA, "Ada"]) == first

    def test_a_token_hides_the_value_and_keeps_an_addresss_domain(self, vault: Vault) -> None:
        email, name, odd = vault.tokenise(A, "cus_1", [ADA, "Ada Example", "me @ home"])
        assert email.startswith("tok_")
        assert email.endswith("@example.com")
        assert name.startswith("tok_")
        assert "@" not in name + odd
        assert "ada" not in (email + name).lower().replace("@example.com", "")

    def test_different_values_have_different_tokens(self, vault: Vault) -> None:
        values = [ADA, ADA.lower(), "Ada", "ada", " ada", "ådä", ""]
        assert len(set(vault.tokenise(A, "cus_1", values))) == len(values)

    def test_any_text_comes_back_as_it_went_in(self, vault: Vault) -> None:
        values = ["", "ünï 🙂", "x" * 200_000, "a\x00b", "tok_123"]
        tokens = vault.tokenise(A, "cus_1", values)
        assert [look(vault, A, token) for token in tokens] == values

    def test_erasing_one_subject_leaves_another_who_shares_a_value(self, vault: Vault) -> None:
        shared, own = vault.tokenise(A, "cus_1", [ADA, "Ada"])
        vault.tokenise(A, "cus_2", [ADA])
        assert vault.erase(A, "cus_1") == 2
        assert look(vault, A, own) is None
        assert look(vault, A, shared) == ADA
        assert vault.erase(A, "cus_2") == 1
        assert look(vault, A, shared) is None
        assert vault.erase(A, "cus_2") == 0

    def test_what_was_erased_is_kept_again_when_it_is_heard_again(self, vault: Vault) -> None:
        (token,) = vault.tokenise(A, "cus_1", [ADA])
        vault.erase(A, "cus_1")
        assert vault.tokenise(A, "cus_1", [ADA]) == [token]
        assert look(vault, A, token) == ADA

    def test_looking_needs_a_name_and_a_reason(self, vault: Vault) -> None:
        (token,) = vault.tokenise(A, "cus_1", [ADA])
        with pytest.raises(Refused):
            vault.reveal(A, token, "kim", " ")
        with pytest.raises(Refused):
            vault.reveal(A, token, "", "a customer asked")

    def test_of_a_barred_subject_the_tokens_go_on_and_no_value_is_kept(self, vault: Vault) -> None:
        before = vault.tokenise(A, "cus_1", [ADA])
        vault.bar(A, ["cus_1"])
        assert vault.is_barred(A, "cus_1")
        assert not vault.is_barred(B, "cus_1")
        assert vault.erase(A, "cus_1") == 1
        assert vault.tokenise(A, "cus_1", [ADA]) == before
        assert look(vault, A, before[0]) is None
        assert look(vault, B, vault.tokenise(B, "cus_1", [ADA])[0]) == ADA
        vault.bar(A, ["cus_1"], barred=False)
        assert vault.tokenise(A, "cus_1", [ADA]) == before
        assert look(vault, A, before[0]) == ADA

    def test_what_a_barred_subject_shares_is_shown_for_the_other_alone(self, vault: Vault) -> None:
        (token,) = vault.tokenise(A, "cus_1", [ADA])
        vault.tokenise(A, "cus_2", [ADA])
        assert vault.kept(A, "cus_1") == (1, 1)
        vault.bar(A, ["cus_1"])
        vault.erase(A, "cus_1")
        assert vault.reveal(A, token, "kim", "why", subject="cus_1") is None
        assert vault.reveal(A, token, "kim", "why", "event evt_1", "cus_2") == ADA
        assert vault.kept(A, "cus_1") == (0, 0)
        assert vault.kept(A, "cus_2") == (1, 0)

    def test_what_was_not_heard_since_a_day_goes_by_its_sort(self, vault: Vault) -> None:
        email, name, odd = vault.tokenise(A, "cus_1", [ADA, "Ada", "something"], ["email", "name", "ip"])
        (there,) = vault.tokenise(B, "cus_1", [ADA], ["email"])
        vault.flush()
        assert vault.expiring(A, {"email": 10**6}) == {"email": 1}
        before = {"email": 10**6, "ip": 10**6, "name": 0}
        assert vault.expiring(A, before) == {"email": 1, "ip": 1}
        gone: dict[str, int] = {}
        after = None
        for _ in range(20):
            some, after = vault.expire(A, before, after, 2)
            gone = {sort: gone.get(sort, 0) + some.get(sort, 0) for sort in {*gone, *some}}
            if after is None:
                break
        assert gone == {"email": 1, "ip": 1}
        assert [look(vault, A, token) for token in (email, name, odd)] == [None, "Ada", None]
        assert look(vault, B, there) == ADA
        assert vault.tokenise(A, "cus_1", [ADA]) == [email]
        assert look(vault, A, email) == ADA


class SecretsContract:
    """Subclasses give a fixture `secrets`."""

    def test_secrets_of_two_tenants_are_apart(self, secrets: Secrets) -> None:
        secrets.put(f"connection/{A}/crm", "whsec_a")
        secrets.put(f"connection/{B}/crm", "whsec_b")
        assert secrets.get(f"connection/{A}/crm") == "whsec_a"
        assert secrets.get(f"connection/{B}/crm") == "whsec_b"

    def test_an_unknown_secret_is_none(self, secrets: Secrets) -> None:
        assert secrets.get("connection/none") is None

    def test_the_last_value_put_is_the_one_got(self, secrets: Secrets) -> None:
        for value in ("one", "ünï 🙂", "three"):
            secrets.put("name", value)
            assert secrets.get("name") == value
