"""Decisions as kept with an event, made ready to be shown: one verdict for each rule that was considered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.browse.rows import JSON, Row


def verdicts(decision: JSON | None, runs: Sequence[JSON]) -> list[Row]:
    """What each rule made of the event, those that fired first. runs: the runs that the event began."""
    return []


def conditions(tree: JSON | None) -> list[Row]:
    """The nodes of a condition tree (rules.tree) as rows with their depth, in reading order."""
    return list(_flat(tree, 0)) if tree else []


def _flat(node: JSON, depth: int) -> Iterator[Row]:
    where = node.get("from") or {}
    yield {
        "depth": depth,
        "kind": node["kind"],
        "text": node.get("field") if node["kind"] == "test" else node["text"],
        "is": node.get("is", ""),
        "needed": node.get("needed"),
        "actual": node.get("actual"),
        "event": where.get("event"),
        "path": where.get("path"),
        "true": bool(node["true"]),
        "skipped": bool(node.get("skipped")),
        "note": node.get("note"),
    }
    for part in node.get("parts") or ():
        yield from _flat(part, depth + 1)
