"""One entry of the audit log: who changed what, when, from what to what, and why; written in the changing commit."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from rules.event import iso
from rules.ports import Put


def entry(
    now: datetime, actor: str, verb: str, about: str, before: Any = None, after: Any = None, why: str = ""
) -> Put:
    """The write. about: the id of a rule, run, action, connection or list. The id sorts by time."""
    body = {"at": iso(now), "actor": actor, "verb": verb, "about": about, "from": before, "to": after, "why": why}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
    return Put("audit", f"{body['at']}-{digest[:12]}", body)
