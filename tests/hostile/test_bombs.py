"""What is small on the wire and huge inside is refused within bounded memory; what nests without end is refused too."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.receive import history
from app.receive.webhook import LIMIT
from app.web import create_app
from app.web.api.entrance import OPERATIONS
from rules.ports import Refused
from tests.builders import ADMIN_TOKEN, NOON, body_of, envelope, services_in_memory
from tests.web.test_webhooks import ask

MEGABYTE = 1024 * 1024
HUGE = 96 * MEGABYTE


@contextmanager
def within(megabytes: float) -> Iterator[None]:
    """The most that is taken at any one moment, beside what was there."""
    tracemalloc.start()
    try:
        yield
        taken = tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()
    assert taken < megabytes


def loaded(path: Path) -> history.Loaded:
    services = services_in_memory()
    return history.load(history.lines_of(path), services.bus, services.vault, NOON)


def packed(kind: str, pieces: Iterator[bytes], path: Path) -> Path:
    opener: Any = {"gz": gzip.open, "xz": lzma.open, "jsonl": open}[kind]
    with opener(path.with_suffix(f".{kind}"), "wb") as file:
        for piece in pieces:
            file.write(piece)
    return path.with_suffix(f".{kind}")


def good(id: str) -> bytes:
    return orjson.dumps(envelope(id)) + b"\n"


# ---- files ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["gz", "xz", "jsonl"])
def test_a_line_without_end_is_one_refused_line_and_the_rest_is_loaded(kind: str, tmp_path: Path) -> None:
    pieces = [good("evt_1"), *[b"a" * MEGABYTE] * (HUGE // MEGABYTE), b"\n", good("evt_2")]
    path = packed(kind, iter(pieces), tmp_path / "bomb")
    with within(24):
        found = loaded(path)
    assert found.events == 2
    assert [one["line"] for one in found.refused] == [2]


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_a_file_of_nothing_but_empty_lines_takes_no_memory(kind: str, tmp_path: Path) -> None:
    path = packed(kind, iter([b"\n" * (MEGABYTE // 8)]), tmp_path / "empty")
    with within(24):
        assert loaded(path).events == 0


def test_several_xz_files_one_after_the_other_are_one(tmp_path: Path) -> None:
    path = tmp_path / "joined.xz"
    path.write_bytes(lzma.compress(good("evt_1")) + b"\0" * 8 + lzma.compress(good("evt_2")) + b"\0" * 4)
    assert loaded(path).events == 2


@pytest.mark.parametrize("kind", ["gz", "xz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
def test_a_damaged_file_is_refused_with_a_sentence(kind: str, damage: str, tmp_path: Path) -> None:
    path = packed(kind, (good(f"evt_{n}") for n in range(50)), tmp_path / "damaged")
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    path.write_bytes({"cut": whole[:-9], "flipped": flipped, "text": b"no archive", "empty": b""}[damage])
    if (kind, damage) == ("gz", "empty"):  # as gzip itself sees it: an archive of nothing
        assert loaded(path).events == 0
        return
    with pytest.raises(Refused, match="cannot be read"):
        loaded(path)


def test_an_xz_file_does_not_say_how_much_memory_is_taken(tmp_path: Path) -> None:
    """Its header asks for a dictionary of 1.5 GB."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}]
    whole = bytearray(lzma.compress(good("evt_1"), filters=filters, check=lzma.CHECK_NONE))
    size = (whole[12] + 1) * 4
    block = whole[12 : 12 + size]
    place = block.index(0x21) + 2  # the dictionary's size stands after the filter's id and the size of its settings
    block[place] = 40  # 4 GB less one byte
    block[-4:] = struct.pack("<I", zlib.crc32(bytes(block[:-4])))
    path = tmp_path / "hungry.xz"
    path.write_bytes(bytes(whole[:12] + block + whole[12 + size :]))
    with pytest.raises(Refused, match="cannot be read"):
        loaded(path)


# ---- requests -------------------------------------------------------------------------------------------------------
def test_a_compressed_webhook_is_refused_unread() -> None:
    bomb = gzip.compress(b"a" * (16 * MEGABYTE))
    with within(4):
        assert ask(services_in_memory(), bomb, HTTP_CONTENT_ENCODING="gzip").status == 415


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_no_compressed_body_is_ever_unpacked(encoding: str) -> None:
    client = create_app(services_in_memory()).test_client()
    bomb = gzip.compress(b"[" * (16 * MEGABYTE))
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Encoding": encoding}
    with within(8):
        answer = client.post("/api/v1/rules", data=bomb, headers=headers, content_type="application/json")
    assert answer.status_code in (400, 415)


def test_a_load_of_nothing_but_line_ends_is_refused_at_once() -> None:
    client = create_app(services_in_memory()).test_client()
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    data = b"\n" * (8 * MEGABYTE)
    with within(64):
        answer = client.post("/api/v1/events:import", data=data, headers=headers, content_type="application/jsonl")
    assert answer.status_code == 400
    assert "command line" in answer.json["detail"]


PARTS = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n'
FORMS = {
    "more parts than a form has": (b"multipart/form-data; boundary=x", PARTS * 6000 + b"--x--\r\n", 413),
    "a field of 3 MB": (b"application/x-www-form-urlencoded", b"name=" + b"a" * (3 * MEGABYTE), 413),
    "more fields than a form has": (b"application/x-www-form-urlencoded", b"a&" * MEGABYTE, 413),
    "a part of 3 MB": (b"multipart/form-data; boundary=x", PARTS.replace(b"1\r\n", b"1" * (3 * MEGABYTE)), 413),
    "9 MB": (b"multipart/form-data; boundary=x", b"a" * (9 * MEGABYTE), 413),
    "a header without end": (b"multipart/form-data; boundary=x", b"--x\r\nA: " + b"a" * MEGABYTE, 200),
    "no boundary": (b"multipart/form-data", PARTS, 200),
    "a part in a part": (b"multipart/form-data; boundary=x", PARTS.replace(b"\r\n\r\n", b"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n", 1) + b"--x--", 200),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize("what", FORMS)
def test_a_form_is_bounded_in_bytes_and_parts(what: str) -> None:
    kind, data, usual = FORMS[what]
    client = create_app(services_in_memory()).test_client()
    with within(40):
        answer = client.post("/settings/subjects/new", data=data, content_type=kind.decode())
    assert answer.status_code in ((413,) if usual == 413 else (200, 400, 422))


@pytest.mark.parametrize("address", ["/sign-in", "/unsubscribe/x"])
def test_a_stranger_may_send_next_to_nothing(address: str) -> None:
    client = create_app(services_in_memory(environment="production")).test_client()
    with within(4):
        assert client.post(address, data={"token": "a" * 32_000}).status_code in (400, 413)
        assert client.post(address, data={"token": "a" * 1000}).status_code < 500


def test_a_file_of_a_rule_is_read_to_its_limit_only() -> None:
    client = create_app(services_in_memory()).test_client()
    data = {"file": (io.BytesIO(b'{"name": "' + b"a" * (4 * MEGABYTE) + b'"}'), "rule.json")}
    with within(48):
        answer = client.post("/rules/new/import", data=data, content_type="multipart/form-data")
    assert answer.status_code < 500


# ---- nesting --------------------------------------------------------------------------------------------------------
DEPTHS = (5, 60, 99, 100, 101, 300, 1100, 100_000)


def nested(depth: int, how: str) -> bytes:
    return {
        "lists": b"[" * depth + b"]" * depth,
        "objects": b'{"a":' * depth + b"1" + b"}" * depth,
        "a rule": b'{"name":"x","when":{"event":["invoice.paid"]},"only_if":'
        + b'{"not":' * depth + b"{}" + b"}" * depth
        + b',"steps":[{"name":"s","do":"crm.notify","with":{}}]}',
    }[how]  # fmt: skip


@pytest.mark.parametrize("how", ["lists", "objects", "a rule"])
def test_what_nests_without_end_is_refused_by_every_operation(how: str) -> None:
    client = create_app(services_in_memory()).test_client()
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for operation in OPERATIONS:
        if operation.body is None:
            continue
        for depth in DEPTHS:
            path = "/api/v1" + operation.path.replace("{", "").replace("}", "")
            kind = operation.raw or "application/json"
            answer = client.open(
                path, method=operation.method, data=nested(depth, how), headers=headers, content_type=kind
            )
            assert answer.status_code < 500, (operation.name, depth)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("how", ["lists", "objects"])
def test_an_event_that_nests_without_end_is_refused(depth: int, how: str) -> None:
    thing = b'{"id":"in_1","object":"invoice","metadata":' + nested(depth, how) + b"}"
    body = body_of(envelope(object={"x": 1})).replace(b'{\n      "x": 1\n    }', thing)
    assert thing in body
    answer = ask(services_in_memory(), body)
    assert answer.status in (200, 400)


def test_a_body_of_the_most_bytes_costs_no_more_than_some_times_that() -> None:
    bodies = [
        b'{"a":' + b"[" * 5 + b"1," * (LIMIT // 4) + b"1]",
        b"[" * (LIMIT - 1),
        b'{"a":1,' * (LIMIT // 7),
        b'"' * LIMIT,
    ]
    for body in bodies:
        with within(80):
            assert ask(services_in_memory(), body[:LIMIT]).status == 400
