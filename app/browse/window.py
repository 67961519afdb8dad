"""A window drawn: where each event of an explanation (rules.explain) lies, whether it counted, and why not."""

from __future__ import annotations

from collections.abc import Sequence

from app.browse.rows import JSON, Row
from rules.event import Event, instant
from rules.model import When
from rules.window import span_of

LONGEST = 400 * 86400  # seconds; a window without an end is drawn as long as this
SHOWN = 60  # events in one picture, the newest
LEFT, RIGHT = 20.0, 980.0  # where the first and the last event are drawn on a scale of 0..1000


def span_before(when: When) -> int | None:
    """Seconds before a trigger that its picture covers; None where nothing before it counts."""
    if when.then:
        return when.then.within
    if when.and_not:  # what must not come comes after the trigger
        return None
    span = span_of(when)
    return None if span is None else min(span, LONGEST)


def picture(explained: JSON, when: When, key: str, trigger: Event) -> Row | None:
    """The window of an explanation, `{"events": [{"event", "type", "created", "counted", "why"}]}`, with the place of
    each event and of the span that counts; None for a rule that counts nothing before its trigger."""
    span, found = span_before(when), (explained or {}).get("events")
    if span is None or not found:
        return None
    dots = [_dot(one) for one in found][-SHOWN:]
    return {
        "key": key,
        "seconds": span,
        "needed": explained.get("needed"),
        "counted": sum(dot["counted"] for dot in dots),
        **_placed(dots, trigger.created - span, trigger.created),
    }


def _dot(one: JSON) -> Row:
    return {
        "event": one["event"],
        "type": one["type"],
        "at": one["created"],
        "created": int(instant(one["created"]).timestamp()),
        "counted": bool(one["counted"]),
        "why": one["why"] or "",
    }


def _placed(dots: Sequence[Row], since: int, until: int) -> Row:
    """The dots and the window's bar, placed on a scale from the earliest of them to the trigger."""
    first = min([since, *(dot["created"] for dot in dots)])
    length = max(until - first, 1)

    def x(created: int) -> float:
        return float(round(LEFT + (created - first) / length * (RIGHT - LEFT), 1))

    left = x(since)
    return {
        "left": left,
        "width": round(RIGHT - left, 1),
        "dots": [{**dot, "x": x(dot["created"])} for dot in dots],
    }
