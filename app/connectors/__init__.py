"""Connectors: how an action reaches the outside. One module per target; `actions` hands out every action by name.

To add a connector
  1. Write a module with one class for each action: `name` ("target.verb"), `title` (plain words), `fields`
     (rules.ports.Field: what the editor asks for and the checker demands), `preview(params)` (the exact call, sending
     nothing) and `execute(task, now)`. slack.Post is the smallest; for a signed webhook give signed.Signer an event as
     access does, for a JSON API talk through rest.Talk as salesforce does. Nothing but delivery.Courier opens a
     connection: it checks and pins every address that a user gave.
  2. In execute, read the state outside first: what is so already is `Outcome.done("Already ...")`, because every step
     may be tried again. Send `task["idempotency_key"]` or `task["id"]` with what you do; where the target keeps no such
     key, write it into what you create and look for it before.
  3. Turn every answer into an Outcome (done, retry, branch, person, dead) and put into `data` what later steps and an
     undo need, also when the answer is lost (params.remembering). `pause_connection=True` when nothing over this
     connection can work until a person mends it. Raise Unconfigured when a setting is missing: the action waits and no
     try is counted. Let surprises rise.
  4. Keep secrets and personal values out of `request`, `response` and `data` (personal.masked, a token where a value
     is needed again); keep the time-out under 30 seconds.
  5. When it needs a connection of a new type, describe that in app/connections/types.py: its fields, its secrets, what
     cannot be, and the action that tests it (the task of a test has `trial`).
  6. Say in `undo` (plain words) what undoing it does, or "Cannot be undone: ..." with the reason; what can be undone
     has `inverse(command)` (rules.ports.Reversible). The action that undoes reads the state first and answers `person`
     when it finds neither what we left nor what was before: it overwrites nothing that somebody changed meanwhile.
  7. Say it in plain words in rules/english.py, and in rules/effects.py when rules can collide over it.
  8. Add it to `actions` below and its line to docs/actions.md. tests/app/test_every_action.py then holds it to all of
     this; add a fake of its target to tests/fakes, with the errors and limits that are documented, and a test for what
     is its own.

A task is the command's body with `idempotency_key`, `attempt` (counts from 1), `traceparent`, `connection_document`
(None for Stripe's until it was once paused), `run` (the run's body) and `rule` (`id, name, number, why`) beside it, and
`remember(data)`: called before a change with what was read before it, it is in `outcome["data"]` of every later try,
also when this one's worker dies.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.connectors.access import Resume, Suspend
from app.connectors.crm_webhook import CloseTask, MoveStage, Notify, OpenTask
from app.connectors.delivery import Courier
from app.connectors.hubspot import hubspot_actions
from app.connectors.mail import SendMail, Suppressions
from app.connectors.rest import Api
from app.connectors.route import Events, Forward, Topics
from app.connectors.salesforce import salesforce_actions
from app.connectors.signed import Signer
from app.connectors.slack import Post
from app.connectors.stripe import stripe_actions
from app.connectors.stripe_answers import StripeAccess
from rules.ports import ActionExecutor, Secrets, Vault


def actions(
    stripe_api_key: str,
    stripe_api_base: str,
    secrets: Secrets,
    vault: Vault,
    development: bool = False,
    public_url: str = "",
    courier: Courier | None = None,
    suppressions: Suppressions | None = None,
    events: Events = lambda tenant, id: None,
    topics: Topics | None = None,
) -> Mapping[str, ActionExecutor]:
    """Every action by name. public_url: where this installation's pages are, for links in notices ("" = paths only)."""
    access = StripeAccess(stripe_api_key, stripe_api_base)
    courier = courier or Courier(development)
    api = Api.over(courier, secrets, vault)
    webhook = courier, secrets, vault, public_url.rstrip("/")
    ours: tuple[ActionExecutor, ...] = (
        Notify(*webhook),
        OpenTask(*webhook),
        CloseTask(*webhook),
        MoveStage(*webhook),
        Forward(Signer(*webhook), events, topics),
        Suspend(*webhook),
        Resume(*webhook),
        *hubspot_actions(api),
        *salesforce_actions(api),
        SendMail(courier, secrets, vault, suppressions, public_url.rstrip("/")),
        Post(courier, secrets, vault, public_url.rstrip("/")),
    )
    return {action.name: action for action in (*stripe_actions(access), *ours)}
