"""A rule in plain English."""

from __future__ import annotations

from rules.words import amount, moment, span_text

__all__ = ["amount", "moment", "span_text"]
