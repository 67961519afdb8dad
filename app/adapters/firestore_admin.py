"""The indexes and index exemptions of a Firestore database, compared with those that the queries need, and made."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.cloud.firestore_admin_v1.types import Field, Index

from app.adapters.firestore_indexes import firestore_indexes
from rules.ports import Unavailable

Row = dict[str, Any]


def lacking(client: Any, project: str) -> tuple[list[Row], list[Row]]:
    """(indexes, field overrides) of deploy/firestore.indexes.json that the database does not have. client:
    FirestoreAdminClient. Raises Unavailable."""
    wanted = firestore_indexes()
    groups = sorted({index["collectionGroup"] for index in wanted["indexes"]})
    try:
        there = {
            name: [_plain(found) for found in client.list_indexes(parent=_group(project, name))] for name in groups
        }
        indexes = [index for index in wanted["indexes"] if _wanted(index) not in there[index["collectionGroup"]]]
        overrides = [row for row in wanted["fieldOverrides"] if not _overridden(client, project, row)]
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Firestore: {error}") from error
    return indexes, overrides


def in_words(project: str) -> list[str]:
    """What the database lacks, for people. Raises Unavailable."""
    from google.cloud.firestore_admin_v1 import FirestoreAdminClient

    indexes, overrides = lacking(FirestoreAdminClient(), project)
    found = [f"{row['collectionGroup']} ({', '.join(part['fieldPath'] for part in row['fields'])})" for row in indexes]
    return found + [f"{row['collectionGroup']}.{row['fieldPath']} (its exemption or policy)" for row in overrides]


def make_index(client: Any, project: str, row: Row) -> None:
    """Begin to build it; Firestore goes on by itself. Raises Unavailable."""
    fields = [Index.IndexField(_field(part)) for part in row["fields"]]
    index = Index(query_scope=row["queryScope"], fields=fields)
    try:
        client.create_index(parent=_group(project, row["collectionGroup"]), index=index)
    except exceptions.AlreadyExists:
        return
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Firestore: {error}") from error


def make_override(client: Any, project: str, row: Row) -> None:
    """Raises Unavailable."""
    indexes = [
        Index(query_scope=part["queryScope"], fields=[{"field_path": row["fieldPath"], "order": part["order"]}])
        for part in row["indexes"]
    ]
    name = f"{_group(project, row['collectionGroup'])}/fields/{row['fieldPath']}"
    ttl = {"ttl_config": Field.TtlConfig()} if row.get("ttl") else {}
    try:
        client.update_field(field=Field(name=name, index_config=Field.IndexConfig(indexes=indexes), **ttl))
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Firestore: {error}") from error


def _overridden(client: Any, project: str, row: Row) -> bool:
    name = f"{_group(project, row['collectionGroup'])}/fields/{row['fieldPath']}"
    try:
        field = client.get_field(name=name)
    except exceptions.NotFound:
        return False
    config = field.index_config
    if config.uses_ancestor_config or (row.get("ttl") and not field._pb.HasField("ttl_config")):
        return False
    there = sorted((index.query_scope.name, part.order.name) for index in config.indexes for part in index.fields)
    return there == sorted((index["queryScope"], index["order"]) for index in row["indexes"])


def _plain(index: Any) -> tuple[str, tuple[tuple[str, str], ...]]:
    fields = [
        (part.field_path, "CONTAINS" if part.array_config else part.order.name)
        for part in index.fields
        if part.field_path != "__name__"
    ]
    return index.query_scope.name, tuple(fields)


def _wanted(row: Row) -> tuple[str, tuple[tuple[str, str], ...]]:
    fields = [(part["fieldPath"], part.get("arrayConfig") or part["order"]) for part in row["fields"]]
    return row["queryScope"], tuple(fields)


def _field(part: dict[str, str]) -> dict[str, str]:
    kind = {"array_config": part["arrayConfig"]} if "arrayConfig" in part else {"order": part["order"]}
    return {"field_path": part["fieldPath"], **kind}


def _group(project: str, kind: str) -> str:
    return f"projects/{project}/databases/(default)/collectionGroups/{kind}"
