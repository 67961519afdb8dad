"""The keyring and the secrets in Firestore, and a new key for it: sealed with keys that a key service has wrapped.

`installation/keyring` holds the keys, which only the wrapper (Cloud KMS) can open; `secrets/<name>` one sealed secret.
Firestore has no transaction over all values at once, so an old key is kept for a while after the last value was sealed
anew: longer than any process may wait with what it sealed before it heard of the new key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import unquote

from google.api_core import exceptions

from app.adapters.firestore import escaped
from app.adapters.firestore_vault import AT_ONCE, PATIENCE, named, place_of
from app.adapters.keys import Keyring, LiveKeys, WrongKeys, live
from app.adapters.sealed import context_of
from rules.ports import Conflict

GRACE = timedelta(minutes=10)  # a process hears of a key within 10 s, and a write ends within 10 s


class Wrapper(Protocol):
    """Seals the keyring under a key that never leaves its service."""

    def wrap(self, plain: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes) -> bytes: ...


class StoredKeyring:
    """The installation's keys, made at the first start; two processes that start together end with the same. What the
    wrapper has opened once is not asked of it again."""

    def __init__(self, client: Any, wrapper: Wrapper) -> None:
        self._place = client.collection("installation").document("keyring")
        self._client = client
        self._wrapper = wrapper
        self._opened: tuple[bytes, Keyring] | None = None
        self._version: Any = None

    def load(self) -> Keyring:
        """Raises WrongKeys when the wrapper cannot open them, Unavailable."""
        wrapped = self._read()
        if wrapped is None:
            made = self._wrapper.wrap(Keyring.make().to_text().encode())
            with named(), suppress(exceptions.AlreadyExists):  # another process was quicker: its keys count
                self._place.create({"wrapped": made}, timeout=PATIENCE)
            wrapped = self._read()
        if self._opened is None or self._opened[0] != wrapped:
            self._opened = (wrapped or b"", Keyring.from_text(self._wrapper.unwrap(wrapped or b"")))
        return self._opened[1]

    def save(self, keys: Keyring) -> None:
        """Replace the keys that were read last. Raises WrongKeys when these make other tokens, Conflict when somebody
        else has replaced them meanwhile: a key that only one process knew would take its values along."""
        if self.load().fingerprint != keys.fingerprint:
            raise WrongKeys("these keys make other tokens than those in use, so nothing could be found again")
        unchanged = self._client.write_option(last_update_time=self._version)
        try:
            with named():
                wrapped = self._wrapper.wrap(keys.to_text().encode())
                self._place.update({"wrapped": wrapped}, option=unchanged, timeout=PATIENCE)
        except exceptions.FailedPrecondition as error:
            raise Conflict("the keys were replaced meanwhile") from error

    def adopt(self, keys: Keyring) -> None:
        """Make these the installation's keys. Raises WrongKeys when it has others already."""
        with named(), suppress(exceptions.AlreadyExists):
            self._place.create({"wrapped": self._wrapper.wrap(keys.to_text().encode())}, timeout=PATIENCE)
        self.save(keys)

    def _read(self) -> bytes | None:
        with named():
            found = self._place.get(timeout=PATIENCE)
        self._version = found.update_time if found.exists else None
        return bytes(found.get("wrapped")) if found.exists else None


class FirestoreSecrets:
    """Secrets sealed with the keyring: for the emulators, and installations without Secret Manager."""

    def __init__(self, client: Any, keys: Keyring | LiveKeys) -> None:
        self._places = client.collection("secrets")
        self._keys = live(keys)

    def get(self, name: str) -> str | None:
        with named():
            found = self._places.document(escaped(name)).get(timeout=PATIENCE)
        return self._keys.open(found.get("key"), f"secret\n{name}", bytes(found.get("value"))) if found.exists else None

    def names(self) -> Iterable[str]:
        with named():
            return sorted(unquote(found.id) for found in self._places.select([]).stream(timeout=PATIENCE))

    def put(self, name: str, value: str) -> None:
        self._keys.refresh()
        key, sealed = self._keys.seal(f"secret\n{name}", value)
        with named():
            self._places.document(escaped(name)).set({"key": key, "value": sealed}, timeout=PATIENCE)

    def reseal(self) -> None:
        """Seal with the current key what is sealed with another."""
        with named():
            old = [found for found in self._places.stream(timeout=PATIENCE)]
        for found in old:
            if found.get("key") != self._keys.ring.current:
                self.put(unquote(found.id), self.get(unquote(found.id)) or "")


class FirestoreRotation:
    """See app.personal.rotating.Rotation. secrets: those that are sealed with the keyring, where there are. point:
    called between any two steps; tests end it there."""

    def __init__(
        self,
        client: Any,
        keys: LiveKeys,
        secrets: FirestoreSecrets | None,
        point: Callable[[str], None] = lambda name: None,
        grace: timedelta = GRACE,
    ) -> None:
        self._client, self._keys, self._secrets, self._point = client, keys, secrets, point
        self.grace = grace

    def keys(self) -> tuple[str, tuple[str, ...]]:
        ring = self._keys.stored()
        return ring.current, tuple(sorted(ring.old))

    def begin(self) -> None:
        self._keys.refresh()
        ring = self._keys.stored()
        if not ring.old:
            self._point("before the new key is kept")
            with suppress(Conflict):  # another process has begun: its key counts
                self._keys.save(ring.rotated())
            self._point("after the new key is kept")
        self._keys.refresh()

    def reseal(self, after: str | None, most: int) -> tuple[int, str | None]:
        """Seal anew among the next so many values; how many, and where to go on (None: there were no more)."""
        self._keys.refresh()
        query = self._client.collection_group("values").order_by("__name__").limit(min(most, AT_ONCE))
        if after:
            query = query.start_after({"__name__": self._client.document(after)})
        with named():
            found = list(query.select(["key", "value"]).stream(timeout=PATIENCE))
        self._point("before values are sealed anew")
        count = sum(self._resealed(one) for one in found if one.get("key") != self._keys.ring.current)
        self._point("after values are sealed anew")
        return count, found[-1].reference.path if found else None

    def _resealed(self, found: Any) -> bool:
        """Whether it was; one that was heard again meanwhile is left to the next look."""
        tenant, token = place_of(found.reference.path)
        context = context_of(tenant, token)
        key, sealed = self._keys.seal(context, self._keys.open(found.get("key"), context, bytes(found.get("value"))))
        unchanged = self._client.write_option(last_update_time=found.update_time)
        with named(), suppress(exceptions.FailedPrecondition, exceptions.NotFound):
            found.reference.update({"key": key, "value": sealed}, option=unchanged, timeout=PATIENCE)
        return True

    def finish(self) -> bool:
        """Drop the old keys, after a look at every value; False when one is sealed with another key."""
        ring = self._keys.stored()
        if not ring.old:
            return True
        if self._secrets is not None:
            self._secrets.reseal()
        self._point("after the secrets are sealed anew")
        after: str | None = None
        while True:
            count, after = self.reseal(after, AT_ONCE)
            if count:
                return False
            if after is None:
                break
        self._point("before the old key is dropped")
        self._keys.save(ring.without_old())
        self._point("after the old key is dropped")
        return True
