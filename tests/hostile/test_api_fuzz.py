"""Every operation of the API, called with what its document allows and with what it does not: no fault, no surprise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi

from app.web.api.entrance import OPERATIONS
from app.web.api.openapi import PREFIX, Operation
from tests.hostile.haunted import Haunted, haunted


@schemathesis.serializer("application/jsonl")
def lines(context: schemathesis.SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


CHECKS = [
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
IDS = {"events": "evt_1", "rules": "evil", "traces": "in_1", "customers": "cus_evil", "connections": "crm"}


@pytest.fixture(scope="module")
def home() -> Iterator[Haunted]:
    with haunted() as found:
        yield found


@pytest.fixture(scope="module")
def document(home: Haunted) -> schemathesis.BaseSchema:
    found = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", home.client.application)
    found.config.phases.coverage.enabled = False
    return found


def call_all(operation: Operation, home: Haunted, document: schemathesis.BaseSchema, examples: int) -> None:
    """As often what the document allows as what it does not."""
    for mode in GenerationMode:
        declared = document[PREFIX + operation.path][operation.method]

        @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, derandomize=True, database=None)
        @given(case=declared.as_strategy(generation_mode=mode))
        def called(case: schemathesis.Case) -> None:
            kind = operation.path.strip("/").split("/")[0]
            if kind in IDS and case.path_parameters and len(str(case.path_parameters)) % 2:  # about what is there
                case.path_parameters = dict.fromkeys(case.path_parameters, IDS[kind])
            case.call_and_validate(headers={**home.api, "Accept-Encoding": "identity"}, checks=CHECKS)

        with suppress(Unsatisfiable):  # where nothing is sent, nothing wrong can be
            called()


NAMES = [operation.name for operation in OPERATIONS]


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_no_call_ends_in_a_fault_or_an_answer_that_is_not_documented(
    operation: Operation, home: Haunted, document: schemathesis.BaseSchema
) -> None:
    call_all(operation, home, document, 3)


@pytest.mark.nightly
@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_none_of_many_calls_does(operation: Operation, home: Haunted, document: schemathesis.BaseSchema) -> None:
    call_all(operation, home, document, 150)
