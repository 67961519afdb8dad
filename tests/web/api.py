"""A client of the JSON API on the memory adapters; every good answer is held to the schema that documents it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient

from app import tenants
from app.services import Services
from app.web import create_app
from app.web.api.entrance import OPERATIONS
from app.web.api.openapi import Operation, with_definitions
from tests.builders import ADMIN_TOKEN, NOON, services_in_memory

PREFIX = "/api/v1"


class Api:
    """Calls under /api/v1 with the admin's token, as JSON."""

    def __init__(self, services: Services, token: str = ADMIN_TOKEN) -> None:
        self.services = services
        self.client: FlaskClient = create_app(services).test_client()
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
        answer = self.client.open(PREFIX + path, method=method, headers={**self.headers, **(headers or {})}, **more)
        if answer.status_code < 300:
            conform(operation_of(method, path.split("?")[0]), answer)
        return answer

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = ..., headers: Mapping[str, str] | None = None) -> Any:
        return self._send("POST", path, body, headers)

    def put(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        return self._send("PUT", path, body, headers)

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None) -> Any:
        if body is ...:
            return self.call(method, path, headers)
        return self.call(method, path, headers, data=json.dumps(body), content_type="application/json")

    def tenant(self, name: str) -> None:
        tenants.ensure(self.services.store, name, NOON)


def operation_of(method: str, path: str) -> Operation:
    """The declared operation that this call reaches; the most literal path wins."""
    fitting = [
        operation
        for operation in OPERATIONS
        if operation.method == method and re.fullmatch(re.sub(r"{\w+}", ".+", operation.path), path)
    ]
    return min(fitting, key=lambda operation: operation.path.count("{") * 100 - len(operation.path))


def conform(operation: Operation, answer: Any) -> None:
    status, _, schema = operation.answer
    assert answer.status_code in (status, *operation.also), operation.name
    jsonschema.Draft202012Validator(with_definitions(schema)).validate(answer.json)


@pytest.fixture
def api() -> Api:
    return Api(services_in_memory())
