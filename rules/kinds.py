"""The kinds of documents the Store keeps, with the fields that may be searched and the queries that may be asked.

Firestore answers only queries that have an index. Declaring them here lets every adapter refuse the same ones, so a
missing index fails on a laptop and not in production.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """fields: body keys kept searchable beside the compressed body. lists: fields that hold a list of texts.
    queries: each `(equality fields..., order field)`; a query may use its order field for ranges, either direction.
    append_only: a document is written once; every store refuses to change it or let it go."""

    name: str
    fields: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    queries: tuple[tuple[str, ...], ...] = ()
    append_only: bool = False
    expires: str = ""  # the field with the time from which a document is of no use: every store lets it go then
    moves: bool = True  # with export and import; what only this installation can use stays


_ALL = (
    # body: {"event": cloudevent, "decision": trace, ...}; see rules.trace
    Kind(
        "event",
        fields=("type", "created", "recorded", "correlation", "trace", "customer", "fired", "origin"),
        lists=("keys",),
        queries=(
            ("created",),
            ("recorded",),
            ("type", "created"),
            ("type", "recorded"),
            ("fired", "created"),
            ("keys", "created"),
            ("keys", "type", "created"),
            ("correlation", "created"),
            ("trace", "created"),  # from a W3C trace id in somebody's log back to the transaction
        ),
    ),
    Kind("memory"),
    Kind(
        "rule",
        fields=("state", "updated_at"),
        queries=(("updated_at",), ("state", "updated_at")),
    ),
    Kind("rule_version", fields=("rule_id", "number"), queries=(("rule_id", "number"),)),
    Kind("ruleset"),
    Kind(
        "run",
        fields=("state", "rule_id", "key", "customer", "trigger", "correlation", "created_at", "due_at"),
        queries=(
            ("created_at",),
            ("due_at",),
            ("state", "created_at"),
            ("rule_id", "created_at"),
            ("rule_id", "state", "created_at"),
            ("customer", "created_at"),
            ("key", "created_at"),
            ("trigger", "created_at"),
            ("correlation", "created_at"),
        ),
    ),
    Kind(
        "command",
        fields=("state", "run_id", "rule_id", "connection", "customer", "correlation", "created_at", "due_at"),
        queries=(
            ("created_at",),
            ("due_at",),
            ("state", "created_at"),
            ("run_id", "created_at"),
            ("connection", "created_at"),
            ("connection", "state", "created_at"),
            ("customer", "created_at"),
            ("customer", "state", "created_at"),  # whose turn it is, where a connection keeps order
            ("correlation", "created_at"),
        ),
    ),
    Kind("connection", fields=("created_at",), queries=(("created_at",),)),
    Kind("list", fields=("updated_at",), queries=(("updated_at",),)),
    Kind("subject", fields=("created_at",), queries=(("created_at",),)),  # a declared path; see app.declared
    Kind("score", fields=("updated_at",), queries=(("updated_at",),)),
    Kind(  # by score and customer, with its history; see rules.scores
        "score_value",
        fields=("score", "customer", "updated_at"),
        queries=(("score", "updated_at"), ("customer", "updated_at")),
    ),
    Kind("limit", fields=("expires_at",), expires="expires_at"),
    Kind("cap"),  # by customer: {"used": [{"command", "tags", "at"}]}; see rules.caps
    Kind("dead_event", fields=("at",), queries=(("at",),)),  # what Pub/Sub gave up: app.adapters.pubsub_dead
    Kind("suppression", fields=("at",), queries=(("at",),)),  # by the token of an address; see app.suppressions
    Kind("switch"),
    Kind("tenant", fields=("created_at",), queries=(("created_at",),)),
    Kind(
        "notice",
        fields=("received_at", "correlation", "expires_at"),
        queries=(("received_at",), ("correlation", "received_at")),
        expires="expires_at",
    ),
    # rows of a job's answer, `<job>|<number>`: {"rows": [...]}
    Kind("job_part", fields=("expires_at",), expires="expires_at"),
    Kind(
        "job",
        fields=("type", "state", "created_at", "due_at", "expires_at"),
        queries=(("created_at",), ("type", "created_at"), ("state", "due_at")),
        expires="expires_at",
    ),
    Kind(  # a payload that does not conform, without its values: app.receive.quarantine
        "quarantine",
        fields=("state", "type", "cause", "received_at"),
        lists=("customers",),
        queries=(
            ("received_at",),
            ("state", "received_at"),
            ("state", "type", "received_at"),
            ("state", "cause", "received_at"),
            ("customers", "received_at"),
        ),
    ),
    Kind("unknown_type", fields=("last_at",), queries=(("last_at",),)),  # an event type that is in no registry
    Kind("setting"),  # what a tenant has set: app.tenant_settings
    Kind("alert"),  # what was announced last: app.operate.alerts
    Kind(
        "review", fields=("state", "created_at"), queries=(("created_at",), ("state", "created_at"))
    ),  # app.operate.reviews
    Kind("case", fields=("owner", "updated_at"), queries=(("updated_at",), ("owner", "updated_at"))),
    Kind(
        "audit",
        fields=("at", "actor", "verb", "about"),
        queries=(("at",), ("about", "at"), ("actor", "at"), ("verb", "at")),
        append_only=True,
    ),
    Kind("audit_seal", fields=("until",), queries=(("until",),), append_only=True),  # the chain: app.audit.seal
    Kind("audit_head"),
    Kind(  # a change that waits for a second person: app.approvals
        "proposal",
        fields=("state", "about", "created_at"),
        queries=(("created_at",), ("state", "created_at"), ("about", "created_at")),
    ),
    Kind(  # what goes in force by itself, and when: app.author.planned
        "plan",
        fields=("rule_id", "number", "state", "due_at", "created_at"),
        queries=(("due_at",), ("rule_id", "number"), ("state", "created_at")),
    ),
    # who may come in, all of the tenant SYSTEM: app.access
    Kind(
        "member",
        fields=("created_at",),
        lists=("subjects",),
        queries=(("created_at",), ("subjects", "created_at")),
    ),
    Kind(
        "session",
        fields=("member", "created_at", "until"),
        queries=(("member", "created_at"),),
        moves=False,
        expires="until",
    ),
    Kind("api_token", fields=("created_at",), queries=(("created_at",),)),
    Kind("attempt", fields=("until",), queries=(("until",),), moves=False, expires="until"),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
MOVED = tuple(name for name, kind in KINDS.items() if kind.moves)
CLAIMABLE = ("command", "run")
EXPIRING = tuple(name for name, kind in KINDS.items() if kind.expires)
SYSTEM = "system"  # the tenant of documents that belong to no tenant, such as the list of tenants
