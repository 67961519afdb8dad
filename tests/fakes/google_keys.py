"""Secret Manager and Cloud KMS as gRPC servers on the clients' own messages, answering as their pages say."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.auth.credentials import AnonymousCredentials
from google.cloud import kms, secretmanager


class FakeSecretManager:
    """Secrets with their versions. away: answers UNAVAILABLE to everything. accesses: how many were asked for."""

    service = "google.cloud.secretmanager.v1.SecretManagerService"

    def __init__(self) -> None:
        self.secrets: dict[str, list[bytes]] = {}
        self.about: dict[str, Any] = {}
        self.away = False
        self.accesses = 0

    def methods(self) -> dict[str, tuple[Any, Any]]:
        types = secretmanager
        return {
            "CreateSecret": (self.create, types.CreateSecretRequest),
            "AddSecretVersion": (self.add, types.AddSecretVersionRequest),
            "ListSecrets": (self.list, types.ListSecretsRequest),
            "AccessSecretVersion": (self.access, types.AccessSecretVersionRequest),
        }

    def create(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        name = f"{request.parent}/secrets/{request.secret_id}"
        if name in self.secrets:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Secret [{name}] already exists.")
        self.secrets[name] = []
        self.about[name] = secretmanager.Secret(request.secret, name=name)
        return self.about[name]

    def list(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        return secretmanager.ListSecretsResponse(secrets=list(self.about.values()))

    def add(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        if request.parent not in self.secrets:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret [{request.parent}] not found.")
        self.secrets[request.parent].append(request.payload.data)
        return secretmanager.SecretVersion(name=f"{request.parent}/versions/{len(self.secrets[request.parent])}")

    def access(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        self.accesses += 1
        versions = self.secrets.get(request.name.removesuffix("/versions/latest"))
        if not versions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret Version [{request.name}] not found.")
        payload = secretmanager.SecretPayload(data=versions[-1])
        return secretmanager.AccessSecretVersionResponse(name=request.name, payload=payload)

    def _check(self, context: grpc.ServicerContext) -> None:
        if self.away:
            context.abort(grpc.StatusCode.UNAVAILABLE, "try again later")

    def client(self, channel: grpc.Channel) -> Any:
        from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
            SecretManagerServiceGrpcTransport,
        )

        transport = SecretManagerServiceGrpcTransport(channel=channel, credentials=AnonymousCredentials())
        return secretmanager.SecretManagerServiceClient(transport=transport)


class FakeKms:
    """One symmetric key with its versions: the newest encrypts, any decrypts, none ever leaves."""

    service = "google.cloud.kms.v1.KeyManagementService"

    def __init__(self, key: str) -> None:
        self.key = key
        self.versions = [AESGCM(AESGCM.generate_key(256))]

    def rotate(self) -> None:
        self.versions.append(AESGCM(AESGCM.generate_key(256)))

    def methods(self) -> dict[str, tuple[Any, Any]]:
        return {"Encrypt": (self.encrypt, kms.EncryptRequest), "Decrypt": (self.decrypt, kms.DecryptRequest)}

    def encrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(request, context)
        number, nonce = len(self.versions), b"n" * 12
        sealed = self.versions[-1].encrypt(nonce, request.plaintext, request.additional_authenticated_data)
        return kms.EncryptResponse(name=f"{self.key}/cryptoKeyVersions/{number}", ciphertext=bytes([number]) + sealed)

    def decrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(request, context)
        number, sealed = request.ciphertext[0], request.ciphertext[1:]
        try:
            plain = self.versions[number - 1].decrypt(b"n" * 12, sealed, request.additional_authenticated_data)
        except (InvalidTag, IndexError):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Decryption failed: the ciphertext is invalid.")
        return kms.DecryptResponse(plaintext=plain)

    def _check(self, request: Any, context: grpc.ServicerContext) -> None:
        if request.name != self.key:
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"Permission denied on {request.name} (or it may not exist)"
            )

    def client(self, channel: grpc.Channel) -> Any:
        from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

        transport = KeyManagementServiceGrpcTransport(channel=channel, credentials=AnonymousCredentials())
        return kms.KeyManagementServiceClient(transport=transport)


@contextmanager
def serving(fake: FakeSecretManager | FakeKms) -> Iterator[Any]:
    """The real client, speaking to the fake over gRPC on loopback."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            method, request_deserializer=kind.deserialize, response_serializer=_serialised
        )
        for name, (method, kind) in fake.methods().items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(fake.service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield fake.client(channel)
    server.stop(0)


def _serialised(message: Any) -> bytes:
    return bytes(type(message).serialize(message))
