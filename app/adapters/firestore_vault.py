"""The Vault, the Secrets and the keyring in Firestore: values sealed with keys that a key service has wrapped.

`vault/<tenant>/values/<token>` holds one sealed value and the subjects it belongs to; `secrets/<name>` one sealed
secret; `installation/keyring` the keys, which only the wrapper (Cloud KMS) can open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol
from urllib.parse import unquote

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from app.adapters.firestore import escaped
from app.adapters.firestore_claims import AT_ONCE
from app.adapters.keys import Keyring, WrongKeys
from app.adapters.sealed import Known, check_look, context_of
from rules.ports import Unavailable

LARGEST = 1_000_000  # bytes of one sealed value; a Firestore document is at most 1 MiB
PATIENCE = 10.0  # seconds for one answer

ValueRow = tuple[str, str, str, str, bytes]  # tenant, token, subject, key id, sealed value
Looked = Callable[[str, str, str, str], None]  # tenant, token, actor, reason


class Wrapper(Protocol):
    """Seals the keyring under a key that never leaves its service."""

    def wrap(self, plain: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes) -> bytes: ...


def load_keyring(client: Any, wrapper: Wrapper) -> Keyring:
    """The installation's keys, made at the first start; two processes that start together end with the same.
    Raises WrongKeys when the wrapper cannot open them, Unavailable."""
    place = client.collection("installation").document("keyring")
    found = _wrapped(place)
    if found is None:
        made = wrapper.wrap(Keyring.make().to_text().encode())
        with _named(), suppress(exceptions.AlreadyExists):  # another process was quicker: its keys count
            place.create({"wrapped": made}, timeout=PATIENCE)
        found = _wrapped(place)
    return Keyring.from_text(wrapper.unwrap(found or b""))


def save_keyring(client: Any, wrapper: Wrapper, keys: Keyring) -> None:
    """Replace the keys, as after a rotation. Raises WrongKeys when these make other tokens than those in use."""
    if load_keyring(client, wrapper).fingerprint != keys.fingerprint:
        raise WrongKeys("these keys make other tokens than those in use, so nothing could be found again")
    with _named():
        place = client.collection("installation").document("keyring")
        place.set({"wrapped": wrapper.wrap(keys.to_text().encode())}, timeout=PATIENCE)


def adopt_keyring(client: Any, wrapper: Wrapper, keys: Keyring) -> None:
    """Make these the installation's keys. Raises WrongKeys when it has others already."""
    place = client.collection("installation").document("keyring")
    with _named(), suppress(exceptions.AlreadyExists):
        place.create({"wrapped": wrapper.wrap(keys.to_text().encode())}, timeout=PATIENCE)
    save_keyring(client, wrapper, keys)


def _wrapped(place: Any) -> bytes | None:
    with _named():
        found = place.get(timeout=PATIENCE)
    return bytes(found.get("wrapped")) if found.exists else None


class FirestoreVault:
    """Vault in Firestore. A value is durable before its token is handed out.

    looked: called before a value is shown, to record who looked and why; when it raises, nothing is shown.
    """

    def __init__(self, client: Any, keys: Keyring, looked: Looked) -> None:
        self._client = client
        self._keys = keys
        self._looked = looked
        self._known = Known()

    def tokenise(self, tenant: str, subject: str, values: Sequence[str]) -> list[str]:
        tokens = [self._known.get((tenant, subject, value)) or self._keys.token_for(tenant, value) for value in values]
        pairs = zip(tokens, values, strict=True)
        new = {token: value for token, value in pairs if self._known.get((tenant, subject, value)) is None}
        if new:
            self._keep(tenant, subject, new)
        return tokens

    def flush(self) -> None:
        """Nothing is kept back: every value was durable before its token was handed out."""

    def reveal(self, tenant: str, token: str, actor: str, reason: str) -> str | None:
        check_look(actor, reason)
        self._looked(tenant, token, actor, reason)
        with _named():
            found = self._values(tenant).document(escaped(token)).get(timeout=PATIENCE)
        if not found.exists:
            return None
        return self._keys.open(found.get("key"), context_of(tenant, token), bytes(found.get("value")))

    def erase(self, tenant: str, subject: str) -> int:
        """Remove what is kept of a subject; how many values went. A value of others too stays for them."""
        self._known.clear()
        gone = 0
        while found := self._some_of(tenant, subject):
            gone += self._take_out(found, subject)
        return gone

    def rows(self) -> Iterator[ValueRow]:
        """Every value as it is kept, sealed, once for each subject; for moving it."""
        with _named():
            for found in self._client.collection_group("values").stream(timeout=60 * PATIENCE):
                _, tenant, _, token = found.reference.path.split("/")
                tenant, token = unquote(tenant), unquote(token)
                for subject in found.get("subjects"):
                    yield tenant, token, subject, found.get("key"), bytes(found.get("value"))

    def take(self, rows: Sequence[ValueRow]) -> None:
        """Keep values that another vault with the same keys has sealed."""
        for start in range(0, len(rows), AT_ONCE):
            batch = self._client.batch()
            for tenant, token, subject, key, sealed in rows[start : start + AT_ONCE]:
                body = {"key": key, "value": sealed, "subjects": firestore.ArrayUnion([subject])}
                batch.set(self._values(tenant).document(escaped(token)), body, merge=True)
            with _named():
                batch.commit(timeout=PATIENCE)

    def _keep(self, tenant: str, subject: str, new: Mapping[str, str]) -> None:
        """Write the values blindly: what is there already is the same value, sealed with another nonce."""
        tokens = list(new)
        for start in range(0, len(tokens), AT_ONCE):
            batch = self._client.batch()
            for token in tokens[start : start + AT_ONCE]:
                key, sealed = self._keys.seal(context_of(tenant, token), new[token])
                if len(sealed) > LARGEST:
                    raise Unavailable(f"a personal value of {len(sealed):,} bytes is more than one document can keep")
                body = {"key": key, "value": sealed, "subjects": firestore.ArrayUnion([subject])}
                batch.set(self._values(tenant).document(escaped(token)), body, merge=True)
            with _named():
                batch.commit(timeout=PATIENCE)
        for token, value in new.items():
            self._known.add((tenant, subject, value), token)

    def _some_of(self, tenant: str, subject: str) -> list[Any]:
        mine = self._values(tenant).where(filter=FieldFilter("subjects", "array_contains", subject))
        with _named():
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
            with _named():
                batch.commit(timeout=PATIENCE)
        except (exceptions.FailedPrecondition, exceptions.NotFound):
            return sum(self._take_out([value], subject) for value in found) if len(found) > 1 else 0
        return len(found)

    def _values(self, tenant: str) -> Any:
        return self._client.collection("vault", escaped(tenant), "values")


class FirestoreSecrets:
    """Secrets sealed with the keyring: for the emulators, and installations without Secret Manager."""

    def __init__(self, client: Any, keys: Keyring) -> None:
        self._places = client.collection("secrets")
        self._keys = keys

    def get(self, name: str) -> str | None:
        with _named():
            found = self._places.document(escaped(name)).get(timeout=PATIENCE)
        return self._keys.open(found.get("key"), f"secret\n{name}", bytes(found.get("value"))) if found.exists else None

    def names(self) -> Iterable[str]:
        with _named():
            return sorted(unquote(found.id) for found in self._places.select([]).stream(timeout=PATIENCE))

    def put(self, name: str, value: str) -> None:
        key, sealed = self._keys.seal(f"secret\n{name}", value)
        with _named():
            self._places.document(escaped(name)).set({"key": key, "value": sealed}, timeout=PATIENCE)


@contextmanager
def _named() -> Iterator[None]:
    """What Firestore could not do becomes Unavailable; a precondition that failed stays what it is."""
    try:
        yield
    except (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound, exceptions.InvalidArgument):
        raise
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Firestore: {error}") from error
