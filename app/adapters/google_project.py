"""What a Google Cloud project says of itself, for the doctor: asked over the REST APIs, and nothing is changed.

Each answer is a plain value; None where the thing is not there. Raises Unavailable, with what Google said, where it
cannot be told: a project without the API, or an account that may not look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rules.event import iso
from rules.ports import Unavailable

PATIENCE = 10.0  # seconds for one answer
WITHIN = timedelta(minutes=10)  # in which Cloud Monitoring has a point of a metric
READ_ONLY = ("https://www.googleapis.com/auth/cloud-platform",)
Json = dict[str, Any]


def session() -> Any:
    """An authorised HTTP session of this environment's account. Raises Unavailable."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    try:
        return AuthorizedSession(google.auth.default(scopes=READ_ONLY)[0])
    except GoogleAuthError as error:
        raise Unavailable(f"no Google account is at hand: {error}") from error


class GoogleProject:
    """session: as `session` makes it. region: where keys and the schedule are."""

    def __init__(self, session: Any, project: str, region: str) -> None:
        self._session = session
        self._project = f"projects/{project}"
        self._region = region

    def database(self) -> Mapping[str, str] | None:
        """`{"type", "locationId", "deleteProtectionState", "pointInTimeRecoveryEnablement"}`."""
        return self._ask("GET", "firestore", f"v1/{self._project}/databases/(default)")

    def time_to_live(self) -> dict[str, str]:
        """The state of the policy on each field that has one, by kind: `ACTIVE`, `CREATING`, `NEEDS_REPAIR`."""
        where = f"v1/{self._project}/databases/(default)/collectionGroups/-/fields"
        found = self._ask("GET", "firestore", where, params={"filter": "ttlConfig:*"}) or {}
        return {row["name"].split("/")[5]: row["ttlConfig"].get("state", "") for row in found.get("fields", [])}

    def building(self) -> list[str]:
        """The kinds of indexes that are not ready yet."""
        found = (
            self._ask("GET", "firestore", f"v1/{self._project}/databases/(default)/collectionGroups/-/indexes") or {}
        )
        return sorted({row["name"].split("/")[5] for row in found.get("indexes", []) if row.get("state") != "READY"})

    def job(self, name: str) -> Mapping[str, Any] | None:
        """A job of Cloud Scheduler, as the API has it."""
        return self._ask("GET", "cloudscheduler", f"v1/{self._project}/locations/{self._region}/jobs/{name}")

    def may_not(self, resource: str, permissions: Sequence[str]) -> list[str] | None:
        """Which of these this account does not have on a resource, by its full name; None where it is not there."""
        api = _api_of(resource)
        version = "v3" if api == "cloudresourcemanager" else "v1"
        address = f"{version}/{resource}:testIamPermissions"
        found = self._ask("POST", api, address, json={"permissions": list(permissions)})
        return None if found is None else [name for name in permissions if name not in found.get("permissions", [])]

    def key(self, name: str) -> Mapping[str, Any] | None:
        """A key of Cloud KMS, by its full name: `{"purpose", "primary": {"state"}, "rotationPeriod"}`."""
        return self._ask("GET", "cloudkms", f"v1/{name}")

    def unacknowledged(self, subscription: str, now: datetime) -> int | None:
        """Seconds that the oldest message of a subscription waits; None without a point of the metric."""
        metric = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
        params = {
            "filter": f'metric.type="{metric}" AND resource.labels.subscription_id="{subscription}"',
            "interval.startTime": iso(now - WITHIN),
            "interval.endTime": iso(now),
        }
        found = self._ask("GET", "monitoring", f"v3/{self._project}/timeSeries", params=params) or {}
        points = [point for row in found.get("timeSeries", []) for point in row.get("points", [])]
        return int(points[0]["value"]["int64Value"]) if points else None

    def _ask(self, method: str, api: str, path: str, **more: Any) -> Json | None:
        url = f"https://{api}.googleapis.com/{path}"
        try:
            answer = self._session.request(method, url, timeout=PATIENCE, **more)
        except Exception as error:  # the transport's, of several libraries
            raise Unavailable(f"{api} does not answer: {type(error).__name__}") from error
        if answer.status_code == 404:
            return None
        if answer.status_code >= 400:
            raise Unavailable(f"{api} answered {answer.status_code}: {_said(answer)}")
        found: Json = answer.json()
        return found


def _api_of(resource: str) -> str:
    parts = resource.split("/")
    if len(parts) == 2:
        return "cloudresourcemanager"
    return {"topics": "pubsub", "subscriptions": "pubsub", "secrets": "secretmanager"}.get(parts[2], "cloudkms")


def _said(answer: Any) -> str:
    try:
        return str(answer.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return "nothing that can be read"
