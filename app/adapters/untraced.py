"""Where no collector is set: the store keeps every span anyway, and nothing is counted."""

from __future__ import annotations

from collections.abc import Sequence

from rules.ports import Span


class NoTracer:
    def export(self, spans: Sequence[Span]) -> None:
        """Nothing to do."""


class NoMeter:
    def add(self, metric: str, amount: int = 1, **attributes: str) -> None:
        """Nothing to do."""

    def record(self, metric: str, value: float) -> None:
        """Nothing to do."""
