"""The Vault, the Secrets and the keyring in Firestore: values sealed with keys that a key service has wrapped.

`vault/<tenant>/values/<token>` holds one sealed value and the subjects it belongs to, `vault/<tenant>/barred/<subject>`
says of whom nothing is kept any more; `installation/keyring` holds the keys, which only the wrapper (Cloud KMS) can
open, and `installation/vault` counts erasures, so that every process notices one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from app.adapters.firestore import escaped
from app.adapters.keys import Keyring, LiveKeys, live
from app.adapters.sealed import Ear, Known, Looked, check_look, context_of, known_as
from rules.personal_sorts import sort_of_value
from rules.ports import Unavailable

LARGEST = 1_000_000  # bytes of one sealed value; a Firestore document is at most 1 MiB
AT_ONCE = 100  # values in one batch of writes
PATIENCE = 10.0  # seconds for one answer

ValueRow = tuple[str, str, str, str, bytes, str, int]  # tenant, token, subject, key id, sealed value, sort, day heard


class FirestoreVault:
    """Vault in Firestore. A value is durable before its token is handed out.

    looked: called before a value is shown, to record who looked and why; when it raises, nothing is shown. ear: tells
    the day, and when to look for what other processes did.
    """

    def __init__(self, client: Any, keys: Keyring | LiveKeys, looked: Looked, ear: Ear | None = None) -> None:
        self._client = client
        self._keys = live(keys)
        self._looked = looked
        self._known = Known()
        self._ear = ear or Ear()
        self._heard: int | None = None  # the count of erasures that this process knows of
        self._barred: dict[str, frozenset[str]] = {}  # by tenant

    def tokenise(self, tenant: str, subject: str, values: Sequence[str], sorts: Sequence[str] = ()) -> list[str]:
        if self._ear.is_time():
            self._listen()
        tokens = [self._keys.token_for(tenant, value) for value in values]
        kinds = sorts or [sort_of_value(subject, value) for value in values]
        rows = zip(tokens, values, kinds, strict=True)
        known = {token for token in tokens if known_as(tenant, subject, token) in self._known}
        new = {token: (value, sort) for token, value, sort in rows if token not in known}
        if new and subject not in self._barred_of(tenant):
            self._keep(tenant, subject, new)
        return tokens

    def flush(self) -> None:
        """Nothing is kept back: every value was durable before its token was handed out."""

    def reveal(self, tenant: str, token: str, actor: str, reason: str, on: str = "", subject: str = "") -> str | None:
        check_look(actor, reason)
        self._looked(tenant, token, actor, reason, on)
        if subject and self.is_barred(tenant, subject):
            return None
        with named():
            found = self._values(tenant).document(escaped(token)).get(timeout=PATIENCE)
        if not found.exists:
            return None
        return self._keys.open(found.get("key"), context_of(tenant, token), bytes(found.get("value")))

    # ---- letting go -------------------------------------------------------------------------------------------------
    def erase(self, tenant: str, subject: str) -> int:
        """Remove what is kept of a subject; how many values went. A value of others too stays for them."""
        self._known.clear()
        gone = 0
        while found := self._some_of(tenant, subject):
            gone += self._take_out(found, subject)
        if gone:
            self._forgotten()
        return gone

    def kept(self, tenant: str, subject: str) -> tuple[int, int]:
        mine = self._values(tenant).where(filter=FieldFilter("subjects", "array_contains", subject))
        with named():
            held = [len(found.get("subjects")) for found in mine.select(["subjects"]).stream(timeout=PATIENCE)]
        return len(held), sum(count > 1 for count in held)

    def bar(self, tenant: str, subjects: Sequence[str], barred: bool = True) -> None:
        places = [self._bars(tenant).document(escaped(subject)) for subject in subjects]
        for start in range(0, len(places), AT_ONCE):
            batch = self._client.batch()
            for place in places[start : start + AT_ONCE]:
                batch.set(place, {}) if barred else batch.delete(place)
            with named():
                batch.commit(timeout=PATIENCE)
        self._forgotten()
        self._listen()

    def is_barred(self, tenant: str, subject: str) -> bool:
        with named():
            return bool(self._bars(tenant).document(escaped(subject)).get(timeout=PATIENCE).exists)

    def expiring(self, tenant: str, before: Mapping[str, int]) -> dict[str, int]:
        found = {}
        for sort, day in before.items():
            with named():
                found[sort] = int(self._due(tenant, sort, day).count().get(timeout=PATIENCE)[0][0].value)
        return {sort: count for sort, count in found.items() if count}

    def expire(
        self, tenant: str, before: Mapping[str, int], after: str | None, most: int
    ) -> tuple[dict[str, int], str | None]:
        """The sorts one after the other; the cursor is the one at hand."""
        self._known.clear()
        left = sorted(sort for sort in before if sort >= (after or ""))
        if not left:
            return {}, None
        sort, most = left[0], min(most, AT_ONCE)
        with named():
            old = list(self._due(tenant, sort, before[sort]).select([]).limit(most).stream(timeout=PATIENCE))
        gone = sum(self._removed(found) for found in old)
        if gone:
            self._forgotten()
        if len(old) == most and gone:
            return {sort: gone}, sort
        return {sort: gone} if gone else {}, left[1] if len(left) > 1 else None

    def _removed(self, found: Any) -> bool:
        """Whether it went; one that was heard again meanwhile stays."""
        try:
            with named():
                found.reference.delete(option=self._client.write_option(last_update_time=found.update_time))
        except (exceptions.FailedPrecondition, exceptions.NotFound):
            return False
        return True

    # ---- moving and sealing anew ------------------------------------------------------------------------------------
    def rows(self) -> Iterator[ValueRow]:
        """Every value as it is kept, sealed, once for each subject; for moving it."""
        with named():
            for found in self._client.collection_group("values").stream(timeout=60 * PATIENCE):
                tenant, token = place_of(found.reference.path)
                body = found.to_dict()
                for subject in body["subjects"]:
                    more = body.get("sort", "other"), body.get("heard", 0)
                    yield tenant, token, subject, body["key"], bytes(body["value"]), *more

    def take(self, rows: Sequence[ValueRow]) -> None:
        """Keep values that another vault with the same keys has sealed."""
        for start in range(0, len(rows), AT_ONCE):
            batch = self._client.batch()
            for tenant, token, subject, key, sealed, sort, heard in rows[start : start + AT_ONCE]:
                body = _body(key, sealed, subject, sort, heard)
                batch.set(self._values(tenant).document(escaped(token)), body, merge=True)
            with named():
                batch.commit(timeout=PATIENCE)

    def every_barred(self) -> Iterator[tuple[str, str]]:
        """Tenant and subject of all of whom nothing is kept."""
        with named():
            for found in self._client.collection_group("barred").select([]).stream(timeout=60 * PATIENCE):
                yield place_of(found.reference.path)

    def _keep(self, tenant: str, subject: str, new: Mapping[str, tuple[str, str]]) -> None:
        """Write the values blindly: what is there already is the same value, sealed with another nonce."""
        tokens = list(new)
        for start in range(0, len(tokens), AT_ONCE):
            batch = self._client.batch()
            for token in tokens[start : start + AT_ONCE]:
                value, sort = new[token]
                key, sealed = self._keys.seal(context_of(tenant, token), value)
                if len(sealed) > LARGEST:
                    raise Unavailable(f"a personal value of {len(sealed):,} bytes is more than one document can keep")
                body = _body(key, sealed, subject, sort, self._ear.day)
                batch.set(self._values(tenant).document(escaped(token)), body, merge=True)
            with named():
                batch.commit(timeout=PATIENCE)
        self._known.add(known_as(tenant, subject, token) for token in tokens)

    def _some_of(self, tenant: str, subject: str) -> list[Any]:
        mine = self._values(tenant).where(filter=FieldFilter("subjects", "array_contains", subject))
        with named():
            return list(mine.select(["subjects"]).limit(AT_ONCE).stream(timeout=PATIENCE))

    def _take_out(self, found: Sequence[Any], subject: str) -> int:
        """Remove the subject from these values, and those that were its alone; how many. One that somebody else has
        changed meanwhile is looked at again."""
        batch = self._client.batch()
        for value in found:
            unchanged = self._client.write_option(last_update_time=value.update_time)
            if value.get("subjects") == [subject]:
                batch.delete(value.reference, option=unchanged)
            else:
                batch.update(value.reference, {"subjects": firestore.ArrayRemove([subject])}, option=unchanged)
        try:
            with named():
                batch.commit(timeout=PATIENCE)
        except (exceptions.FailedPrecondition, exceptions.NotFound):
            return sum(self._take_out([value], subject) for value in found) if len(found) > 1 else 0
        return len(found)

    def _values(self, tenant: str) -> Any:
        return self._client.collection("vault", escaped(tenant), "values")

    def _due(self, tenant: str, sort: str, day: int) -> Any:
        """One field tells sort and day, so that the index which Firestore makes of each field serves the question."""
        values = self._values(tenant).where(filter=FieldFilter("due", ">=", f"{sort}|"))
        return values.where(filter=FieldFilter("due", "<", _due(sort, day)))

    def _bars(self, tenant: str) -> Any:
        return self._client.collection("vault", escaped(tenant), "barred")

    def _barred_of(self, tenant: str) -> frozenset[str]:
        if tenant not in self._barred:
            with named():
                found = self._bars(tenant).select([]).stream(timeout=PATIENCE)
                self._barred[tenant] = frozenset(unquote(one.id) for one in found)
        return self._barred[tenant]

    # ---- hearing of others ------------------------------------------------------------------------------------------
    def _forgotten(self) -> None:
        with named():
            self._client.document("installation", "vault").set(
                {"forgotten": firestore.Increment(1)}, merge=True, timeout=PATIENCE
            )

    def _listen(self) -> None:
        """Whether something was erased, a key made, or a day begun, since this process last looked."""
        self._keys.refresh()
        with named():
            found = self._client.document("installation", "vault").get(timeout=PATIENCE)
        heard = int(found.get("forgotten")) if found.exists else 0
        if self._ear.new_day() or heard != self._heard:
            self._known.clear()
            self._barred = {}
        self._heard = heard


def place_of(path: str) -> tuple[str, str]:
    """Tenant and token of a value's document, or tenant and subject of a bar's."""
    _, tenant, _, token = path.split("/")
    return unquote(tenant), unquote(token)


def _body(key: str, sealed: bytes, subject: str, sort: str, heard: int) -> dict[str, Any]:
    subjects = firestore.ArrayUnion([subject])
    return {"key": key, "value": sealed, "subjects": subjects, "sort": sort, "heard": heard, "due": _due(sort, heard)}


def _due(sort: str, day: int) -> str:
    return f"{sort}|{day:07}"


@contextmanager
def named() -> Iterator[None]:
    """What Firestore could not do becomes Unavailable; a precondition that failed stays what it is."""
    try:
        yield
    except (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound, exceptions.InvalidArgument):
        raise
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Firestore: {error}") from error
