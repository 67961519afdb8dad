"""Settings: one frozen object, read once from the environment, with every problem reported at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says (DESIGN §8); secrets are read by name through Secrets, never kept here in the clear
    beyond what start-up needs."""

    port: int = 8080
    host: str = "127.0.0.1"
    backend: Literal["sqlite", "google", "memory"] = "sqlite"
    data: Path = Path("data")
    environment: Literal["development", "production"] = "development"
    stripe_api_key: str = ""
    stripe_webhook_secrets: tuple[str, ...] = ()
    stripe_api_base: str = "https://api.stripe.com"
    google_project: str = ""
    otlp_endpoint: str = ""
    admin_token: str = ""
    sample: bool = False
    matcher: Literal["durable", "python", "auto"] = "auto"
