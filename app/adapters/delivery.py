"""How a queue treats its deliveries, whatever keeps them: back-off, the last attempt, one bad one harms no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from rules.ports import Delivery, Disposition, Unavailable

BACK_OFF = (1, 5, 30, 120, 600)  # seconds after the 1st, 2nd, ... failed attempt
MAX_ATTEMPTS = 6

Handler = Callable[[Sequence[Delivery]], Sequence[Disposition]]


def next_try(attempts: int, now: datetime) -> datetime:
    """When a delivery that failed this many times is due again."""
    return now + timedelta(seconds=BACK_OFF[min(attempts, len(BACK_OFF)) - 1])


def given_up(disposition: Disposition, attempts: int) -> bool:
    return disposition.kind == "dead" or (attempts >= MAX_ATTEMPTS and not disposition.waits)


def settle(handler: Handler, batch: Sequence[Delivery]) -> list[Disposition]:
    """The dispositions of a batch; when the batch raises, each delivery is tried alone.
    Unavailable rises: the store is at fault and no delivery should pay for it with an attempt."""
    if not batch:
        return []
    try:
        dispositions = list(handler(batch))
        if len(dispositions) != len(batch):
            raise ValueError(f"{len(dispositions)} dispositions for {len(batch)} deliveries")
        return dispositions
    except Unavailable:
        raise
    except Exception as error:  # a handler's surprise must not lose the rest
        if len(batch) == 1:
            return [Disposition("retry", f"{type(error).__name__}: {error}")]
        return [settle(handler, [delivery])[0] for delivery in batch]
