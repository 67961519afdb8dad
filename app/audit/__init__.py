"""Audit: what was done, by whom and why, as entries in a chain that shows every later change."""

from __future__ import annotations

from app.audit.entries import digest, entry, entry_hash, entry_id, is_whole

__all__ = ["digest", "entry", "entry_hash", "entry_id", "is_whole"]
