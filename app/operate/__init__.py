"""Operate: what people ask of runs, actions and switches, one by one and many at once."""

from __future__ import annotations

from app.operate.verbs import (
    VERBS,
    act,
    act_on_many,
    discard,
    open_runs,
    pause_connection,
    replay,
    resume_connection,
    switch,
    switches,
    undo_preview,
)

__all__ = [
    "VERBS",
    "act",
    "act_on_many",
    "discard",
    "open_runs",
    "pause_connection",
    "replay",
    "resume_connection",
    "switch",
    "switches",
    "undo_preview",
]
