"""DBOS on SQLite: one durable workflow for each event, its id the workflow's; the notice is a checkpointed step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import stripe
from dbos import DBOS, DBOSConfig, SetWorkflowID
from flask import Flask, request

from bench.peers.common import DATA, SECRET, decide, notify

config: DBOSConfig = {
    "name": "bench",
    "system_database_url": f"sqlite:///{Path(DATA) / 'dbos.db'}",
    "run_admin_server": False,
    "log_level": "ERROR",
}
DBOS(config=config)
app = Flask(__name__)


@DBOS.step()
def tell(event_id: str, rule: str) -> None:
    notify(event_id, rule)


@DBOS.workflow()
def work(event: dict[str, Any]) -> None:
    for rule in decide(event):
        tell(event["id"], rule)


@app.post("/webhooks/stripe")
def webhook() -> tuple[str, int]:
    raw = request.get_data()
    try:
        event = stripe.Webhook.construct_event(raw, request.headers["Stripe-Signature"], SECRET)
    except Exception:
        return "bad signature", 400
    with SetWorkflowID(event.id):
        DBOS.start_workflow(work, event.to_dict())
    return "ok", 200


@app.get("/healthz")
def health() -> str:
    return "ok"


DBOS.launch()
