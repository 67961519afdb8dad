"""API calls on who may come in: members with their roles, the end of their sessions, tokens, and who the caller is."""

from __future__ import annotations

from typing import Any

from flask import g

from app.access import api_tokens, members
from app.access.members import ROLES, Member
from app.web.api.openapi import TIME, Answer, Call, Operation, closed, define, listed, nullable, record, text
from app.web.api.rules import NOTE, note
from app.web.gate import roles

ROLE = text(enum=list(ROLES))
RIGHT = text(enum=list(roles.RIGHTS))
MEMBER = define(
    "Member",
    record(
        ("id", "email", "roles", "state", "version"),
        "Somebody who may come in. Members are of the installation, not of a tenant.",
        id=text(),
        email=text("What the person signs in with, and the name in the audit log."),
        name=text(),
        roles={"type": "array", "items": ROLE},
        state=text(enum=["active", "disabled"]),
        has_password={"type": "boolean"},
        issuers={"type": "array", "items": text("Where the person has signed in.")},
        created_at=nullable(TIME),
        signed_in_at=nullable(TIME),
        version=text("Send it as `If-Match`, to change only what you read."),
    ),
)
TOKEN = define(
    "ApiToken",
    record(
        ("id", "name", "rights", "state", "until"),
        "A token of the API, without its text.",
        id=text("The public part of the token."),
        name=text(),
        rights={"type": "array", "items": RIGHT},
        state=text(enum=["active", "expired", "revoked"]),
        made_by=text(),
        created_at=TIME,
        until=TIME,
        used_on=nullable(text("The last day on which it was used.")),
        revoked_at=nullable(TIME),
        token=text("The text of the token; only in the answer that makes it."),
    ),
)
CALLER = define(
    "Caller",
    record(
        ("actor", "roles", "rights"),
        "Who is asking.",
        actor=text("The name in the audit log."),
        roles={"type": "array", "items": ROLE},
        rights={"type": "array", "items": RIGHT},
    ),
)
NAME = text("What people call the person.", maxLength=80)
ROLES_OF = {"type": "array", "items": ROLE, "minItems": 1, "uniqueItems": True}


# ---- handlers -------------------------------------------------------------------------------------------------------
def whoami(call: Call) -> Answer:
    rights = [right for right in roles.RIGHTS if right in g.rights]
    return Answer({"actor": call.actor, "roles": sorted(g.roles), "rights": rights})


def list_members(call: Call) -> Answer:
    return Answer({"items": [_shown(member) for member in members.every(call.services.store)], "next": None})


def read_member(call: Call) -> Answer:
    return Answer(_shown(members.read(call.services.store, call.path["id"])))


def add_member(call: Call) -> Answer:
    s, given = call.services, {name: value for name, value in call.body.items() if name != "note"}
    return Answer(_shown(members.add(s.store, s.passwords, given, call.actor, call.now, note(call))), 201)


def change_member(call: Call) -> Answer:
    given = {name: value for name, value in call.body.items() if name != "note"}
    expect = call.if_match.strip('"') if call.if_match else None
    changed = members.change(call.services.store, call.path["id"], given, call.actor, call.now, note(call), expect)
    return Answer(_shown(changed))


def end_sessions(call: Call) -> Answer:
    return Answer(_shown(members.end_sessions(call.services.store, call.path["id"], call.actor, call.now, note(call))))


def list_tokens(call: Call) -> Answer:
    found = api_tokens.every(call.services.store)
    return Answer({"items": [token.shown(call.now) for token in found], "next": None})


def make_token(call: Call) -> Answer:
    made, text_ = api_tokens.make(call.services.store, call.body, call.actor, call.now, note(call))
    return Answer({**made.shown(call.now), "token": text_}, 201)


def revoke_token(call: Call) -> Answer:
    found = api_tokens.revoke(call.services.store, call.path["id"], call.actor, call.now, note(call))
    return Answer(found.shown(call.now))


def _shown(member: Member) -> dict[str, Any]:
    return {**member.shown(), "version": member.version}


OPERATIONS = (
    Operation(
        "GET", "/whoami", "whoami", "Who the token makes you, and what it may do", "access", whoami,
        (200, "The caller.", CALLER),
    ),
    Operation(
        "GET", "/members", "listMembers", "Every member", "access", list_members, (200, "Oldest first.", listed(MEMBER))
    ),
    Operation(
        "POST", "/members", "addMember", "Let somebody in", "access", add_member, (201, "The member.", MEMBER),
        body=closed(
            ("email", "roles"),
            email=text(maxLength=254),
            name=NAME,
            roles=ROLES_OF,
            password=text("Only for who signs in with one.", maxLength=200),
            note=text("Why; kept in the audit log.", maxLength=2000),
        ),
        errors=(409, 422),
    ),
    Operation("GET", "/members/{id}", "readMember", "One member", "access", read_member, (200, "The member.", MEMBER)),
    Operation(
        "PUT", "/members/{id}", "changeMember", "Change a member's roles, name or state", "access", change_member,
        (200, "The member; sessions follow at once.", MEMBER),
        body=closed(
            (),
            name=NAME,
            roles=ROLES_OF,
            state=text(enum=["active", "disabled"]),
            note=text("Why; kept in the audit log.", maxLength=2000),
        ),
        errors=(409, 412, 422),
    ),
    Operation(
        "POST", "/members/{id}/end-sessions", "endSessions", "Sign a member out everywhere", "access", end_sessions,
        (200, "The member.", MEMBER), body=NOTE, body_required=False, errors=(409,),
    ),
    Operation(
        "GET", "/tokens", "listTokens", "Every API token", "access", list_tokens, (200, "Newest first.", listed(TOKEN))
    ),
    Operation(
        "POST", "/tokens", "makeToken", "Make an API token; its text is in this answer only", "access", make_token,
        (201, "The token, with its text.", TOKEN),
        body=closed(
            ("name", "rights"),
            name=text(maxLength=60),
            rights={"type": "array", "items": RIGHT, "minItems": 1, "uniqueItems": True},
            days={"type": "integer", "minimum": 1, "maximum": api_tokens.LONGEST, "default": api_tokens.USUAL},
            note=text("Why; kept in the audit log.", maxLength=2000),
        ),
        errors=(422,),
    ),
    Operation(
        "POST", "/tokens/{id}/revoke", "revokeToken", "End a token at once", "access", revoke_token,
        (200, "The token.", TOKEN), body=NOTE, body_required=False,
    ),
)  # fmt: skip
