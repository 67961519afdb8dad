"""Who may do what: the one table of rights. A route that is not in it is nobody's, whoever asks.

Add a line for each new route: its method and endpoint, and the right it takes (several: any of them). `open` asks
nobody, `machine` checks its caller by itself, `self` is everybody's who signed in. A call by POST that changes nothing
takes `read`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

Right = Literal["read", "author", "approve", "operate", "reveal", "admin", "self", "open", "machine"]
Rights = tuple[Right, ...]
Args = Mapping[str, Any]
Rule = Right | Rights | Callable[[Args], Rights]  # of the values in the address
Table = dict[tuple[str, str], Rule]

RIGHTS: tuple[Right, ...] = ("read", "author", "approve", "operate", "reveal", "admin")
EVERYTHING: frozenset[Right] = frozenset({*RIGHTS, "self"})
OF_ROLE: Mapping[str, frozenset[Right]] = {
    "viewer": frozenset({"self", "read"}),
    "author": frozenset({"self", "read", "author"}),
    "approver": frozenset({"self", "read", "approve"}),
    "operator": frozenset({"self", "read", "operate", "reveal"}),
    "admin": EVERYTHING,
}
EVERY_ROLE = frozenset(OF_ROLE)
SAYS: Mapping[str, str] = {
    "read": "look at everything but personal values",
    "author": "write rules, lists and scores",
    "approve": "put rules into force, and answer approvals",
    "operate": "act on runs and dead letters, and stop what goes out",
    "reveal": "see personal values, with a reason",
    "admin": "look after connections, members, tokens and settings",
}
EITHER: Rights = ("author", "approve")
STOPS = ("settings.set_switch", "api.setSwitch")  # stop in read-only mode, too; to let go asks `access.require_changes`


def of_roles(roles: Iterable[str]) -> frozenset[Right]:
    return frozenset().union(*(OF_ROLE.get(role, frozenset()) for role in roles))


def of_scopes(scopes: Iterable[str]) -> frozenset[Right]:
    """What a token's rights come to: each lets it read, and admin is all of them."""
    chosen = set(scopes)
    if "admin" in chosen:
        return frozenset(RIGHTS)
    return frozenset(right for right in RIGHTS if right in chosen or (right == "read" and chosen))


def needed(table: Table, method: str, endpoint: str | None, args: Args) -> Rights | None:
    """The rights of which a caller needs one; None for a route that is not in the table."""
    method = {"HEAD": "GET", "OPTIONS": "GET"}.get(method, method)
    found = table.get((method, endpoint or ""))
    if found is None:
        return None
    if callable(found):
        return found(args)
    return (found,) if isinstance(found, str) else found


def is_allowed(rights: frozenset[Right], wanted: Rights | None) -> bool:
    return wanted is not None and not rights.isdisjoint(wanted)


def is_free(wanted: Rights | None) -> bool:
    """Whether no member has to be asked for."""
    return wanted in (("open",), ("machine",))


def changes(method: str, endpoint: str | None, wanted: Rights | None) -> bool:
    """Whether a person changes something by this that can wait: to stop what goes out never can."""
    quiet = is_free(wanted) or wanted == ("read",) or endpoint in STOPS
    return method not in ("GET", "HEAD", "OPTIONS") and not quiet


def holders(wanted: Rights) -> list[str]:
    """The roles that carry one of these rights."""
    return [role for role, rights in OF_ROLE.items() if is_allowed(rights, wanted)]


# ---- verbs in an address or a form ----------------------------------------------------------------------------------
_RULE_VERBS: Mapping[str, Rights] = {
    "publish": EITHER,  # who may not put it in force may ask for it: app.web.second
    "rollback": EITHER,
    "resume": EITHER,
    "archive": ("approve",),
    "pause": ("approve", "operate"),  # to stop something is easier than to begin it
    "watch": EITHER,  # watching sends nothing
    "restore": EITHER,  # it comes back switched off
    "withdraw": ("author", "approve", "operate"),  # a plan: less happens
    "discard": ("author",),
}


def rule_verb(args: Args) -> Rights:
    return _RULE_VERBS.get(str(args.get("verb")), ("admin",))


def proposal_verb(args: Args) -> Rights:
    """Whoever asked may withdraw; the answer is the approvers'."""
    return ("author", "approve", "admin") if args.get("verb") == "withdraw" else ("approve",)


def run_verb(args: Args) -> Rights:
    """To answer an approval is a right of its own; everything else that is done to runs is the operators'."""
    return ("approve",) if args.get("verb") in ("approve", "decline") else ("operate",)


def list_rule(args: Args) -> Rights:
    """A list that says who has a role is the administrators'."""
    return ("admin",) if str(args.get("name", "")).startswith("role-") else ("author",)


# ---- the table ------------------------------------------------------------------------------------------------------
def _rows(right: Rule, *endpoints: str) -> Table:
    """`GET name` or `POST name`; a name alone is a GET."""
    split = (endpoint.rpartition(" ") for endpoint in endpoints)
    return {(method or "GET", name): right for method, _, name in split}


def _api(right: Rule, *names: str) -> Table:
    """Operations of the JSON API by their ids: `POST createRule`."""
    split = (name.rpartition(" ") for name in names)
    return {(method or "GET", f"api.{name}"): right for method, _, name in split}


RULES: Table = {
    **_rows(
        "open",
        "static",
        "signin.form",
        "POST signin.sign_in",
        "GET signin.begin_openid",
        "signin.finish_openid",
        "POST signin.sign_out",
        "signin.ask_set_up",  # both look themselves whether there is a member yet, and who asks
        "POST signin.set_up",
        "unsubscribe.ask",  # the link is signed
        "POST unsubscribe.leave",
    ),
    **_rows("self", "account.look", "POST account.set_password", "POST account.end_sessions"),
    **_rows("machine", "POST tasks.push", "POST tasks.tick", "POST crm_inbox.receive"),
    **_rows(
        "read",
        "backtests.effect",
        "backtests.file",
        "backtests.index",
        "backtests.look",
        "crm_inbox.look",
        "crm_inbox.one",
        "customers.many",
        "customers.one",
        "dead_letters.look",
        "dead_letters.progress",
        "deliveries.many",
        "editor.fields",
        "events.log",
        "events.one",
        "find.find",
        "home.overview",
        "lint.look",
        "many_runs.watch",
        "needs_you.look",
        "routes.look",
        "quarantine.look",
        "quarantine.one",
        "quarantine.progress",
        "rules.export",
        "rules.index",
        "rules.look",
        "runs.many",
        "runs.news",
        "runs.one",
        "sample.look",
        "schemas.compare",
        "schemas.one",
        "schemas.types",
        "scores.known",
        "scores.look",
        "sends.look",
        "audit.look",
        "audit.export",
        "audit.progress",
        "POST audit.verify",  # a look at the whole log, as a job
        "settings.import_progress",
        "settings.look",
        "settings_account.look",
        "settings_parts.connection",
        "settings_parts.look_at_list",
        "settings_parts.no_email",
        "subjects.look",
        "traces.many",
        "traces.one",
        "why.look",
    ),
    **_rows(
        "author",
        "POST editor.draft",
        "editor.edit",
        "POST editor.look",
        "POST editor.press",
        "POST editor.take_file",
        "POST examples.add",
        "scores.ask_delete",
        "POST scores.declare",
        "POST scores.delete",
        "POST scores.set_values",
        "POST sends.test",
        "starting.ask",
        "POST starting.begin",
        "starting.gallery",
        "POST starting.try_all",
        "subjects.ask_withdraw",
        "POST subjects.declare",
        "POST subjects.fill_again",
        "POST subjects.withdraw",
    ),
    **_rows(list_rule, "POST settings_parts.save_list", "settings_parts.ask_delete", "POST settings_parts.delete_list"),
    **_rows(EITHER, "POST backtests.begin", "POST backtests.cancel", "POST backtests.measured"),
    **_rows(rule_verb, "rules.ask", "POST rules.act"),
    **_rows(run_verb, "runs.ask", "POST runs.act"),
    **_rows(
        ("approve", "operate"),  # the view asks again by the verb in the form
        "many_runs.ask",
        "POST many_runs.act",
    ),
    **_rows(
        "operate",
        "dead_letters.ask",
        "POST dead_letters.act",
        "POST dead_letters.stop",
        "quarantine.ask",
        "POST quarantine.act",
        "quarantine.ask_many",
        "POST quarantine.act_on_many",
        "POST quarantine.stop",
        "many_runs.ask_exclude",
        "POST many_runs.exclude",
        "needs_you.ask",
        "POST needs_you.act",
        "needs_you.ask_whose",
        "POST needs_you.assign",
        "POST sample.start",
        "safety.ask_live",
        "POST safety.set_live",
        "settings.ask_switch",
        "POST settings.set_switch",
        "POST settings.begin_import",
        "POST settings.stop_import",
        "settings_parts.ask_connection",
        "POST settings_parts.set_connection",
        "settings_parts.ask_lift",
        "POST settings_parts.lift",
    ),
    **_rows(
        "admin",
        "members.many",
        "members.one",
        "POST members.add",
        "POST members.change",
        "POST members.set_password",
        "POST members.end_sessions",
        "POST members.forget_issuers",
        "tokens.many",
        "POST tokens.make",
        "tokens.ask_revoke",
        "POST tokens.revoke",
        "safety.ask_dry_run",
        "POST safety.set_dry_run",
        "routes.ask_delete",
        "POST routes.count",
        "POST routes.delete",
        "POST routes.save",
        "POST settings.add_webhook_secret",
        "settings.ask_webhook_secret",
        "settings.ask_forget",
        "POST settings.forget_webhook_secrets",
        "POST settings_account.save",
        "settings_parts.ask_secret",
        "POST settings_parts.replace_secret",
        "POST settings_parts.save_connection",
        "POST settings_parts.test_connection",
    ),
    **_rows("reveal", "personal.ask_reveal", "POST personal.reveal"),
    **_rows("read", "personal.look"),
    **_rows("admin", "personal.ask_erase", "POST personal.erase", "POST personal.lift"),
    **_rows("admin", "POST personal.save", "POST personal.remove"),
    **_api("read", "listPersonalValues", "getErasure", "getRetention", "getVaultKeys"),
    **_api("reveal", "POST revealPersonalValue"),
    **_api("admin", "POST eraseCustomer", "POST liftErasure", "PUT putRetention", "POST runRetention"),
    **_api("open", "openapi"),
    **_api(
        "read",
        "whoami",
        "POST checkRule",
        "POST explain",
        "POST fillStarter",
        "getBacktest",
        "getCommand",
        "getDryRun",
        "getDeadLetterJob",
        "getEvent",
        "getNeedsYou",
        "getPlan",
        "getRule",
        "getRun",
        "getSchema",
        "getSettings",
        "getSwitches",
        "getTrace",
        "lintRules",
        "listAudit",
        "listCauses",
        "listCommands",
        "listConnections",
        "listDeadLetters",
        "listEvents",
        "listFacts",
        "listRules",
        "listRuns",
        "compareSchemas",
        "getQuarantined",
        "getQuarantineJob",
        "listQuarantine",
        "listQuarantineCauses",
        "listSchemaFields",
        "listSchemas",
        "listSchemaVersions",
        "listUnknownTypes",
        "listScores",
        "listStarters",
        "listSubjects",
        "listVersions",
        "lookAtManyRuns",
        "previewUndo",
        "readCustomerFacts",
        "readScore",
        "readSubject",
        "runExamples",
        "verifyAudit",
    ),
    **_api(
        "author",
        "POST addExample",
        "POST createRule",
        "PUT putRule",
        "POST declareSubject",
        "POST fillSubject",
        "POST withdrawSubject",
        "PUT putScore",
        "POST deleteScore",
    ),
    **_api(EITHER, "POST startBacktest", "POST cancelBacktest", "POST watchRule", "POST restoreRule"),
    **_api(EITHER, "POST publishRule", "POST planRule", "POST rollbackRule", "POST resumeRule"),
    **_api(("author", "approve", "operate"), "DELETE withdrawPlan"),
    **_api("approve", "POST archiveRule"),
    **_rows("read", "proposals.many", "proposals.one"),
    **_rows(proposal_verb, "POST proposals.answer"),
    **_api("read", "listProposals", "getProposal", "verifyAudit"),
    **_api("approve", "POST approveProposal", "POST declineProposal", "POST acknowledgeProposal"),
    **_api(("author", "approve", "admin"), "POST withdrawProposal"),
    **_api("approve", "POST approveRun", "POST declineRun"),
    **_api(("approve", "operate"), "POST pauseRule", "POST manyRuns"),
    **_api(
        "operate",
        "POST againRun",
        "POST assign",
        "POST cancelDeadLetterJob",
        "POST cancelQuarantineJob",
        "POST discardQuarantined",
        "POST replayQuarantined",
        "POST cancelRun",
        "POST discard",
        "POST discardRun",
        "POST excludeCustomer",
        "POST goFrom",
        "POST releaseRun",
        "POST replay",
        "POST retryRun",
        "POST closeReview",
        "POST setLiveActions",
        "POST setSwitch",
        "POST skipRun",
        "POST startRun",
        "POST undoRun",
    ),
    **_api(
        "admin",
        "POST countRoute",
        "POST deleteRoute",
        "POST importEvents",
        "PUT putSettings",
        "POST replaceSecret",
        "POST saveConnection",
        "POST setDryRun",
        "listMembers",
        "POST addMember",
        "readMember",
        "PUT changeMember",
        "POST endSessions",
        "listTokens",
        "POST makeToken",
        "POST revokeToken",
    ),
}
