"""Author: rules as drafts and in force, with connections and lists beside them."""

from __future__ import annotations

from app.author.advice import connections_of
from app.author.drafts import (
    Row,
    authors_of_draft,
    discard_draft,
    problems,
    refuse_errors,
    rule,
    rules,
    save_draft,
    slug,
    version,
    versions,
    without_personal,
)
from app.author.force import Mode, archive, pause, publish, restore, resume, rollback
from app.author.parts import (
    connection,
    connections,
    delete_list,
    lists,
    pause_connection,
    replace_secret,
    resume_connection,
    save_connection,
    save_list,
)

__all__ = [
    "Mode",
    "Row",
    "archive",
    "authors_of_draft",
    "connection",
    "connections",
    "connections_of",
    "delete_list",
    "discard_draft",
    "lists",
    "pause",
    "pause_connection",
    "problems",
    "publish",
    "refuse_errors",
    "replace_secret",
    "restore",
    "resume",
    "resume_connection",
    "rollback",
    "rule",
    "rules",
    "save_connection",
    "save_draft",
    "save_list",
    "slug",
    "version",
    "versions",
    "without_personal",
]
