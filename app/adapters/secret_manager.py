"""The Secrets in Google's Secret Manager: one secret a name, its newest version in force."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type

from app.digests import sha256
from rules.ports import Unavailable

PATIENCE = 10.0  # seconds for one answer
FRESH = 60.0  # seconds that a value stays good: an access costs money and a round trip, and each command needs one
PREFIX = "signalbox-"


class SecretManager:
    """client: google.cloud.secretmanager.SecretManagerServiceClient. project: its id. elapsed: a stopwatch in seconds
    for the age of what was read; a value put by this process is seen by it at once, by others within `FRESH`."""

    def __init__(
        self,
        client: Any,
        project: str,
        elapsed: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._client = client
        self._project = project
        self._elapsed = elapsed
        again = Retry(if_exception_type(exceptions.ServiceUnavailable), initial=0.1, maximum=2.0, timeout=patience)
        self._limits: dict[str, Any] = {"retry": again, "timeout": patience}
        self._read: dict[str, tuple[float, str | None]] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> str | None:
        with self._lock:
            at, value = self._read.get(name, (float("-inf"), None))
        if self._elapsed() - at < FRESH:
            return value
        return self._remember(name, self._latest(name))

    def names(self) -> Iterable[str]:
        request = {"parent": f"projects/{self._project}", "filter": "labels.app=signalbox"}
        try:
            found = list(self._client.list_secrets(request=request, **self._limits))
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise Unavailable(f"Secret Manager: {error}") from error
        return sorted(secret.annotations["name"] for secret in found if "name" in secret.annotations)

    def put(self, name: str, value: str) -> None:
        payload = {"data": value.encode()}
        request = {"parent": self._secret(name), "payload": payload}
        try:
            try:
                self._client.add_secret_version(request=request, **self._limits)
            except exceptions.NotFound:
                self._create(name)
                self._client.add_secret_version(request=request, **self._limits)
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise Unavailable(f"Secret Manager: {error}") from error
        self._remember(name, value)

    def _latest(self, name: str) -> str | None:
        request = {"name": f"{self._secret(name)}/versions/latest"}
        try:
            found = self._client.access_secret_version(request=request, **self._limits)
        except (exceptions.NotFound, exceptions.FailedPrecondition):  # no secret, or its version is disabled
            return None
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise Unavailable(f"Secret Manager: {error}") from error
        return bytes(found.payload.data).decode()

    def _create(self, name: str) -> None:
        secret = {"replication": {"automatic": {}}, "labels": {"app": "signalbox"}, "annotations": {"name": name}}
        request = {"parent": f"projects/{self._project}", "secret_id": secret_id(name), "secret": secret}
        with suppress(exceptions.AlreadyExists):  # another process was quicker
            self._client.create_secret(request=request, **self._limits)

    def _secret(self, name: str) -> str:
        return f"projects/{self._project}/secrets/{secret_id(name)}"

    def _remember(self, name: str, value: str | None) -> str | None:
        with self._lock:
            self._read[name] = (self._elapsed(), value)
        return value


def secret_id(name: str) -> str:
    """A name as Secret Manager takes it (letters, digits, `-`, `_`, at most 255): readable, and told apart by a digest
    of the whole name."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:200].strip("-")
    return f"{PREFIX}{readable}-{sha256(name.encode())[:10]}"
