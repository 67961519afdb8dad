"""The keyring's wrapper: Cloud KMS in production, a key file where the emulators play Google's part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.api_core import exceptions

from app.adapters.keys import Keyring, WrongKeys, load_keys
from rules.ports import Unavailable

PATIENCE = 10.0  # seconds for one answer
CONTEXT = b"signalbox keyring"  # what is sealed for another purpose does not open here


class KmsWrapper:
    """client: google.cloud.kms.KeyManagementServiceClient. key: a symmetric key's full name; KMS picks its version, so
    rotating the key in KMS needs nothing here."""

    def __init__(self, client: Any, key: str) -> None:
        self._client = client
        self._key = key

    def wrap(self, plain: bytes) -> bytes:
        request = {"name": self._key, "plaintext": plain, "additional_authenticated_data": CONTEXT}
        try:
            return bytes(self._client.encrypt(request=request, timeout=PATIENCE).ciphertext)
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise Unavailable(f"Cloud KMS: {error}") from error

    def unwrap(self, wrapped: bytes) -> bytes:
        request = {"name": self._key, "ciphertext": wrapped, "additional_authenticated_data": CONTEXT}
        try:
            return bytes(self._client.decrypt(request=request, timeout=PATIENCE).plaintext)
        except (exceptions.InvalidArgument, exceptions.FailedPrecondition) as error:
            raise WrongKeys(f"{self._key} cannot open this installation's keys: {error.message}") from error
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise Unavailable(f"Cloud KMS: {error}") from error


class FileWrapper:
    """Wraps with a key in a file of its owner's alone, made at the first start."""

    def __init__(self, path: Path) -> None:
        self._keys: Keyring = load_keys(path)

    def wrap(self, plain: bytes) -> bytes:
        key, sealed = self._keys.seal(CONTEXT.decode(), plain.decode())
        return key.encode() + b"\n" + sealed

    def unwrap(self, wrapped: bytes) -> bytes:
        key, _, sealed = wrapped.partition(b"\n")
        return self._keys.open(key.decode(errors="replace"), CONTEXT.decode(), sealed).encode()
