"""The JSON API on rules: drafts, their ETag, what is refused and how, and putting versions in force."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders import SHARED
from tests.web.api import Api, api

__all__ = ["api"]
RULE = json.loads((SHARED / "data" / "example_rule.json").read_bytes())
ID = RULE["id"]


def broken() -> dict[str, Any]:
    document = json.loads(json.dumps(RULE))
    document["only_if"]["all"][0]["field"] = "data.object.amount_remainin"
    document["steps"][1]["do"] = "crm.notfy"
    return document


def test_a_rule_is_made_as_a_draft_and_answers_where_it_is(api: Api) -> None:
    made = api.post("/rules", RULE)
    assert made.status_code == 201
    assert made.headers["Location"] == f"/api/v1/rules/{ID}"
    assert made.json["document"] == RULE
    assert (made.json["state"], made.json["number"]) == ("off", None)
    assert "7 days" in made.json["english"]


def test_a_rule_of_the_same_id_is_a_conflict(api: Api) -> None:
    api.post("/rules", RULE)
    again = api.post("/rules", RULE)
    assert again.status_code == 409
    assert ID in again.json["detail"]


def test_a_document_with_errors_is_refused_with_every_problem_in_its_place(api: Api) -> None:
    refused = api.post("/rules", broken())
    assert refused.status_code == 422
    assert refused.content_type == "application/problem+json"
    found = {problem["path"]: problem["suggestion"] for problem in refused.json["problems"]}
    assert found == {"only_if.all[0].field": "data.object.amount_remaining", "steps[1].do": "crm.notify"}
    assert api.get("/rules").json["items"] == []


def test_an_incomplete_document_can_be_kept_when_that_is_asked_and_not_published(api: Api) -> None:
    kept = api.post("/rules?incomplete=true", broken())
    assert kept.status_code == 201
    assert kept.json["problems"] == 2
    assert api.post(f"/rules/{ID}/publish", {"note": "now"}).status_code == 422
    assert api.get(f"/rules/{ID}").json["state"] == "off"


def test_a_check_says_what_is_wrong_and_keeps_nothing(api: Api) -> None:
    found = api.post("/rules:check", broken())
    assert (found.status_code, found.json["ok"], len(found.json["problems"])) == (200, False, 3)
    assert api.post("/rules:check", RULE).json["ok"] is True
    assert api.get("/rules").json["items"] == []


def test_publishing_puts_a_version_in_force_which_never_changes(api: Api) -> None:
    api.post("/rules", RULE)
    live = api.post(f"/rules/{ID}/publish", {"note": "agreed"})
    assert (live.status_code, live.json["state"], live.json["number"]) == (200, "live", 1)
    assert live.json["draft"] is None
    api.put(f"/rules/{ID}", {**RULE, "name": "Renamed"})
    api.post(f"/rules/{ID}/publish", {})
    versions = api.get(f"/rules/{ID}/versions").json["items"]
    assert [(one["number"], one["document"]["name"], one["note"]) for one in versions] == [
        (2, "Renamed", ""),
        (1, RULE["name"], "agreed"),
    ]


def test_the_states_of_a_rule_follow_its_verbs(api: Api) -> None:
    api.post("/rules", RULE)
    seen = [
        api.post(f"/rules/{ID}/{verb}").json["state"] for verb in ("watch", "publish", "pause", "resume", "archive")
    ]
    assert seen == ["watch", "live", "paused", "live", "archived"]
    assert api.post(f"/rules/{ID}/pause").status_code == 409
    assert api.get("/rules?state=live").json["items"] == []
    assert [one["id"] for one in api.get("/rules?state=archived").json["items"]] == [ID]


def test_an_earlier_version_can_be_put_in_force_again(api: Api) -> None:
    api.post("/rules", RULE)
    api.post(f"/rules/{ID}/publish")
    api.put(f"/rules/{ID}", {**RULE, "name": "Renamed"})
    api.post(f"/rules/{ID}/publish")
    back = api.post(f"/rules/{ID}/rollback", {"number": 1, "note": "it was better"})
    assert (back.json["number"], back.json["in_force"]["name"]) == (1, RULE["name"])
    assert api.post(f"/rules/{ID}/rollback", {"number": 9}).status_code == 404


# ---- two people at once ---------------------------------------------------------------------------------------------
def test_a_draft_is_saved_over_the_version_that_was_read_only(api: Api) -> None:
    api.post("/rules", RULE)
    read = api.get(f"/rules/{ID}").headers["ETag"]
    assert api.put(f"/rules/{ID}", {**RULE, "name": "Mine"}, {"If-Match": read}).status_code == 200
    late = api.put(f"/rules/{ID}", {**RULE, "name": "Theirs"}, {"If-Match": read})
    assert late.status_code == 412
    assert "Read it again" in late.json["detail"]
    assert api.get(f"/rules/{ID}").json["document"]["name"] == "Mine"


def test_the_etag_of_a_change_is_good_for_the_next(api: Api) -> None:
    etag = api.post("/rules", RULE).headers["ETag"]
    etag = api.put(f"/rules/{ID}", {**RULE, "name": "Mine"}, {"If-Match": etag}).headers["ETag"]
    assert api.post(f"/rules/{ID}/publish", {}, {"If-Match": etag}).status_code == 200
    assert api.post(f"/rules/{ID}/publish", {}, {"If-Match": etag}).status_code == 412


# ---- what is refused ------------------------------------------------------------------------------------------------
def test_the_address_and_the_document_name_the_same_rule(api: Api) -> None:
    refused = api.put("/rules/another", RULE)
    assert refused.status_code == 422
    assert refused.json["problems"] == [
        {"path": "id", "message": "the address says 'another'", "suggestion": "another"}
    ]
    unnamed = {key: value for key, value in RULE.items() if key != "id"}
    assert api.put("/rules/another", unnamed).json["id"] == "another"


@pytest.mark.parametrize("document", ["text", 3, None, [RULE], True])
def test_what_is_no_object_is_no_rule(api: Api, document: Any) -> None:
    refused = api.post("/rules", document)
    assert refused.status_code == 400
    (problem,) = refused.json["problems"]
    assert problem["path"] == "body"
    assert problem["message"].endswith('is not of type "object"')


@pytest.mark.parametrize("verb", ["publish", "watch", "pause", "resume", "archive", "restore"])
def test_a_rule_that_is_not_there_is_404(api: Api, verb: str) -> None:
    assert api.post(f"/rules/nothing/{verb}").status_code == 404


@pytest.mark.parametrize("body", [{"note": 3}, {"nota": "why"}, ["why"], "why"])
def test_a_note_of_another_shape_is_400_with_its_place(api: Api, body: Any) -> None:
    api.post("/rules", RULE)
    refused = api.post(f"/rules/{ID}/publish", body)
    assert refused.status_code == 400
    assert refused.json["problems"]
    assert api.get(f"/rules/{ID}").json["state"] == "off"


def test_every_change_is_in_the_audit_log_with_who_and_why(api: Api) -> None:
    api.post("/rules", RULE)
    api.post(f"/rules/{ID}/publish", {"note": "agreed"})
    found = api.get(f"/audit?about={ID}").json["items"]
    assert [(one["verb"], one["why"], one["actor"]) for one in found] == [
        ("publish", "agreed", "admin token"),
        ("save draft", "", "admin token"),
    ]


def test_rules_of_one_tenant_are_not_seen_by_another(api: Api) -> None:
    api.tenant("default/live")
    api.post("/rules?tenant=default/test", RULE)
    assert api.get("/rules?tenant=default/live").json["items"] == []
    assert api.get(f"/rules/{ID}?tenant=default/live").status_code == 404
    assert api.get(f"/rules/{ID}?tenant=default/other").status_code == 404


def test_lint_names_rules_that_collide_with_an_event_that_starts_both(api: Api) -> None:
    assert api.get("/rules:lint").json["items"] == []
    for name, action in (("one", "stripe.cancel_subscription"), ("two", "stripe.pause_collection")):
        step = {"name": "act", "do": action, "with": {}}
        when = {"event": ["invoice.payment_failed"], "same": "subscription"}
        document = {"id": name, "name": name, "when": when, "steps": [step]}
        assert api.post("/rules", document).status_code == 201
        assert api.post(f"/rules/{name}/publish", {}).status_code == 200
    (finding,) = api.get("/rules:lint").json["items"]
    assert (finding["kind"], finding["rules"], finding["path"]) == ("collision", ["one", "two"], "steps[0]")
    assert finding["witness"][0]["type"] == "invoice.payment_failed"
    found = api.get("/rules/two").json["findings"]
    assert [one["path"] for one in found if "collides with “one”" in one["message"]] == ["steps[0]"]
