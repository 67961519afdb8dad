"""The doctor: what is wrong with an installation, and what mends it. It changes nothing."""

from __future__ import annotations

from app.doctor.installation import examine, schemas_agree

__all__ = ["examine", "schemas_agree"]
