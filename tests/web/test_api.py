"""The JSON API's frame: who may come in, what is refused and how, lists, and the OpenAPI document."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.web.api.entrance import OPERATIONS
from app.web.api.openapi import PREFIX, Operation
from rules.ports import Unavailable
from tests.builders import ADMIN_TOKEN, NOON, services_in_memory
from tests.web.api import Api, api

__all__ = ["api"]


# ---- who may come in ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "header",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": ADMIN_TOKEN}, {"Authorization": f"Basic {ADMIN_TOKEN}"}],
)
def test_without_the_token_nothing_is_answered(header: dict[str, str]) -> None:
    stranger = Api(services_in_memory(), token="")
    answer = stranger.call("GET", "/rules", header)
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "Authorization: Bearer" in answer.json["detail"]


def test_every_operation_but_the_document_asks_for_the_token() -> None:
    stranger = Api(services_in_memory(), token="")
    for operation in OPERATIONS:
        answer = stranger.call(operation.method, re.sub(r"{\w+}", "x", operation.path))
        assert (answer.status_code == 401) is not operation.open, operation.name


def test_the_document_is_open_in_production_and_nothing_else() -> None:
    stranger = Api(services_in_memory(environment="production"), token="")
    assert stranger.get("/openapi.json").status_code == 200
    assert stranger.get("/rules").status_code == 401


def test_a_page_of_another_site_cannot_use_the_api(api: Api) -> None:
    answer = api.post("/rules:check", {}, {"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


# ---- what is refused ------------------------------------------------------------------------------------------------
def test_an_address_that_is_not_there_is_a_problem(api: Api) -> None:
    answer = api.get("/nothing")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_another_method_is_a_problem(api: Api) -> None:
    answer = api.call("DELETE", "/rules")
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")


def test_an_unknown_parameter_is_refused_with_the_one_that_was_meant(api: Api) -> None:
    answer = api.get("/events?typ=invoice.paid")
    assert answer.status_code == 400
    assert answer.json["problems"] == [
        {"path": "typ", "message": "unknown parameter 'typ'", "suggestion": "type"},
    ]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=many", "limit=1.5", "fired=maybe", "before=yesterday", "after=nonsense"],
)
def test_a_parameter_that_cannot_be_read_is_400_with_its_name(api: Api, query: str) -> None:
    answer = api.get(f"/events?{query}")
    assert answer.status_code == 400
    assert answer.json["problems"][0]["path"] == query.split("=")[0]


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[1,", b"{'a': 1}", b"NaN"])
def test_a_body_that_is_no_json_is_400_with_the_place(api: Api, raw: bytes) -> None:
    answer = api.call("POST", "/explain", data=raw, content_type="application/json")
    assert answer.status_code == 400
    assert re.match(r"line \d+, column \d+", answer.json["problems"][0]["path"])


def test_a_body_of_another_type_is_415(api: Api) -> None:
    assert api.call("POST", "/explain", data=b"a=1", content_type="text/plain").status_code == 415


def test_a_body_that_is_too_large_is_413_and_nothing_is_read(api: Api) -> None:
    answer = api.call("POST", "/explain", data=b" " * (1024 * 1024 + 1), content_type="application/json")
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")


def test_a_store_that_does_not_answer_is_503_with_retry_after() -> None:
    class Absent:
        def __getattr__(self, name: str) -> Any:
            def call(*given: Any, **more: Any) -> Any:
                raise Unavailable("no")

            return call

    store: Any = Absent()
    answers = Api(replace(services_in_memory(), store=store))
    answer = answers.get("/rules?tenant=default/test")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_a_surprise_is_a_problem_without_its_trace() -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            def call(*given: Any, **more: Any) -> Any:
                raise RuntimeError("secret detail")

            return call

    store: Any = Broken()
    answers = Api(replace(services_in_memory(), store=store))
    answer = answers.get("/rules")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text


# ---- the document ---------------------------------------------------------------------------------------------------
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/openapi.json").json
    return found


def test_the_document_is_valid_openapi_3_1(api: Api) -> None:
    found = document(api)
    assert found["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(found).validate()


def test_every_route_is_documented_and_every_documented_one_is_there(api: Api) -> None:
    routed = {
        (re.sub(r"<path:(\w+)>", r"{\1}", rule.rule), method)
        for rule in api.client.application.url_map.iter_rules()
        if rule.rule.startswith(PREFIX)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    documented = {(path, method.upper()) for path, item in document(api)["paths"].items() for method in item}
    assert routed == documented


def test_the_calls_that_others_depend_on_are_there(api: Api) -> None:
    paths = document(api)["paths"]
    fixed = {
        "/rules": "get post",
        "/rules/{id}": "get put",
        **{f"/rules/{{id}}/{v}": "post" for v in ("publish", "watch", "pause", "resume", "archive", "rollback")},
        "/backtests": "post",
        "/backtests/{id}": "get",
        "/explain": "post",
        "/events": "get",
        "/events/{id}": "get",
        "/events:import": "post",
        "/runs": "get",
        "/runs/{id}": "get",
        **{f"/runs/{{id}}/{verb}": "post" for verb in ("retry", "cancel", "skip", "approve")},
        "/commands": "get",
        "/commands/{id}": "get",
        "/dead-letters": "get",
        "/dead-letters/replay": "post",
        "/schemas": "get",
        "/audit": "get",
        "/connections": "get post",
        "/traces/{id}": "get",
    }
    for path, methods in fixed.items():
        assert set(methods.split()) <= set(paths[PREFIX + path]), path


def test_operation_names_are_unique_and_every_one_is_summed_up() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert all(operation.summary and not operation.summary.endswith(".") for operation in OPERATIONS)


def test_the_schema_of_an_event_type_accepts_such_an_event(api: Api) -> None:
    from tests.builders import envelope

    schema = api.get("/schemas/invoice.payment_failed").json
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(envelope())
    amount = schema["properties"]["data"]["properties"]["object"]["properties"]["amount_remaining"]
    assert "integer" in amount["type"]


def test_every_event_type_of_stripe_is_listed_with_its_schema(api: Api) -> None:
    items = api.get("/schemas").json["items"]
    assert len(items) == 275
    first = api.get("/schemas?limit=100").json
    rest = api.get(f"/schemas?limit=500&after={first['next']}").json
    assert first["items"] + rest["items"] == items
    assert api.get("/schemas/invoice.paid_twice").status_code == 404


# ---- anything at all ------------------------------------------------------------------------------------------------
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def bodies(operation: Operation) -> st.SearchStrategy[bytes | None]:
    """Bodies near to what the operation takes, and far from it."""
    if operation.body is None:
        return st.none()
    names = list(dict(operation.body.get("properties", {}))) or ["id", "when", "steps", "name", "only_if"]
    near = st.dictionaries(st.sampled_from(names), JSON_VALUES, max_size=5).map(
        lambda value: json.dumps(value).encode()
    )
    return near | JSON_VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)


IDS = st.sampled_from(["x", "evt_1", "run_1/step", "two-failed-payments", "%00", "..%2f..", "ü", "a" * 400])
SHARED_API = Api(services_in_memory(now=NOON))


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), operation=st.sampled_from(OPERATIONS))
def test_nothing_that_is_sent_makes_a_5xx_or_an_undocumented_answer(data: st.DataObject, operation: Operation) -> None:
    path = re.sub(r"{\w+}", lambda _: data.draw(IDS), operation.path)
    named = [parameter.name for parameter in operation.all_parameters if parameter.where == "query"]
    query = {
        name: data.draw(st.text(max_size=12) | st.sampled_from(["1", "true", "2026-11-23T00:00:00Z", "done"]))
        for name in (data.draw(st.sets(st.sampled_from(named), max_size=3)) if named else ())
    }
    body = data.draw(bodies(operation))
    kind = operation.raw or "application/json"
    answer = SHARED_API.call(operation.method, path, query_string=query, data=body, content_type=kind)
    assert answer.status_code < 500, answer.text
    item = document(SHARED_API)["paths"][PREFIX + operation.path][operation.method.lower()]
    known = item["responses"]
    assert str(answer.status_code) in known or answer.status_code in (404, 405), answer.status_code
    expected = "application/json" if answer.status_code < 300 else "application/problem+json"
    assert answer.content_type.startswith(expected)
