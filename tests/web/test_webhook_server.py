"""The webhook door as the network sees it: the real server on a socket, with bytes that no library would send."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.receive.webhook import LIMIT
from app.web.gate.bodies import HELD
from app.web.server import THREADS
from tests.builders import body_of, envelope, signature
from tests.running import Running, running, until

KIB = 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server") / "data", "web") as started:
        yield started


def request(body: bytes, *headers: str, length: bool = True, close: bool = True) -> bytes:
    lines = ["POST /webhooks/stripe HTTP/1.1", "Host: x", f"Stripe-Signature: {signature(body, datetime.now(UTC))}"]
    lines += [f"Content-Length: {len(body)}"] if length else []
    lines += ["Connection: close"] if close else []
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def chunks(body: bytes, size: int) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_whole_request_is_a_200(server: Running) -> None:
    body = body_of(envelope("evt_whole"))
    assert status(server.raw(request(body) + body)) == 200


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_a_chunked_body_is_put_together(server: Running, size: int) -> None:
    body = body_of(envelope(f"evt_chunked_{size}"))
    head = request(body, "Transfer-Encoding: chunked", length=False)
    assert status(server.raw(head + chunks(body, size))) == 200


def test_a_body_that_arrives_byte_by_byte_is_a_200(server: Running) -> None:
    body = body_of(envelope("evt_slow", object={"object": "x", "id": "x_1"}))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request(body))
        for i in range(len(body)):
            connection.sendall(body[i : i + 1])
        assert status(connection.recv(65_536)) == 200


def test_a_body_that_ends_early_is_a_400_and_nothing_is_kept(server: Running) -> None:
    body = body_of(envelope("evt_short"))
    assert status(server.raw(request(body) + body[:-10], end=True)) in (400, 0)


def test_more_bytes_than_were_announced_are_not_part_of_the_body(server: Running) -> None:
    body = body_of(envelope("evt_long"))
    assert status(server.raw(request(body) + body + b"GET / nonsense")) == 200


@pytest.mark.parametrize(
    "header", ["Content-Length: ten", "Content-Length: -5", "Transfer-Encoding: gzip", "Content-Length: 5, 6"]
)
def test_a_length_that_is_none_is_refused_by_the_server(server: Running, header: str) -> None:
    body = body_of(envelope("evt_header"))
    assert 400 <= status(server.raw(request(body, header, length=False) + body)) < 502


def test_an_oversized_announcement_is_refused_before_the_body_comes(server: Running) -> None:
    head = request(b"", f"Content-Length: {100 * LIMIT}", length=False)
    assert status(server.raw(head)) == 413


def test_an_endless_chunked_body_is_cut_off(server: Running) -> None:
    head = request(b"", "Transfer-Encoding: chunked", length=False)
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head)
        try:
            while sent < 64 * LIMIT:
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                sent += 65_536
        except OSError:
            pass
    assert sent < 64 * LIMIT


def test_good_requests_are_answered_beside_slow_and_huge_ones(server: Running) -> None:
    def answered(name: str) -> float:
        began = time.perf_counter()
        assert server.post_event(envelope(name)) == 200
        return time.perf_counter() - began

    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(HELD - 2)]
    for connection in slow:
        connection.sendall(request(b"x" * 1000) + b"x")  # and then nothing more
    try:
        with ThreadPoolExecutor(4) as pool:
            times = list(pool.map(answered, [f"evt_beside_{i}" for i in range(40)]))
    finally:
        for connection in slow:
            connection.close()
    assert max(times) < 10


def test_senders_who_keep_their_bodies_back_hold_up_no_page(server: Running) -> None:
    stalled = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(THREADS + 8)]
    for connection in stalled:
        connection.sendall(request(b"x" * 1000) + b"x")  # and then nothing more
    try:
        assert server.request("GET", "/healthz")[0] == 200
        assert server.request("GET", "/rules")[0] == 200
        assert server.post_event(envelope("evt_held_up")) == 503
    finally:
        for connection in stalled:
            connection.close()
    until(lambda: server.post_event(envelope("evt_held_up")) == 200)


def test_one_address_that_keeps_bodies_back_without_end_slows_no_other(server: Running) -> None:
    """Sixty connections of another address, each stalled or a byte at a time, and opened again when they are ended."""
    over = threading.Event()

    def took(name: str) -> float:
        began = time.perf_counter()
        assert server.post_event(envelope(name)) == 200
        return time.perf_counter() - began

    def hold_back(drips: bool) -> None:
        while not over.is_set():
            try:
                with socket.create_connection(
                    ("127.0.0.1", server.port), timeout=0.2, source_address=("127.0.0.2", 0)
                ) as connection:
                    connection.sendall(request(b"x" * 1000) + b"x")
                    while not over.wait(0.3 if drips else 1.0):
                        if drips:
                            connection.sendall(b"x")
                        elif connection.recv(1, socket.MSG_PEEK) is not None:
                            break
            except OSError:
                over.wait(0.05)

    def p99(prefix: str) -> float:
        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(took, [f"evt_{prefix}_{i}" for i in range(300)]))[-3]

    p99("warm")
    alone = p99("alone")
    hostile = [threading.Thread(target=hold_back, args=(number % 2 == 0,)) for number in range(60)]
    for thread in hostile:
        thread.start()
    try:
        over.wait(1.0)  # the first rush is over
        beside = p99("beside")
    finally:
        over.set()
        for thread in hostile:
            thread.join()
    assert beside <= 3 * alone + 0.05, (alone, beside)


def test_a_body_that_does_not_come_is_ended_and_its_sender_told(server: Running) -> None:
    stalled = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(HELD + 2)]
    try:
        for connection in stalled:
            connection.sendall(request(b"x" * 1000) + b"x")
        answers = [connection.recv(4096) for connection in stalled]
    finally:
        for connection in stalled:
            connection.close()
    assert {status(answer) for answer in answers} <= {400, 503}
    assert 400 in {status(answer) for answer in answers}


def test_many_senders_at_once_lose_nothing(server: Running) -> None:
    names = [f"evt_many_{i}" for i in range(200)]
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda name: server.post_event(envelope(name)), names * 2))
    assert set(statuses) == {200}


def test_ten_thousand_headers_or_a_huge_one_end_with_a_refusal_not_with_the_server(server: Running) -> None:
    body = body_of(envelope("evt_headers"))
    server.raw(request(body, *[f"X-{i}: {i}" for i in range(10_000)]) + body)
    server.raw(request(body, "X-Huge: " + "x" * 1000 * KIB) + body)
    assert server.post_event(envelope("evt_after_headers")) == 200


def test_problems_are_json_and_flask_answers_the_rest(server: Running) -> None:
    code, answer = server.request("POST", "/webhooks/stripe", b"{}")
    assert (code, json.loads(answer)["status"]) == (400, 400)
    assert server.request("GET", "/rules")[0] == 200


def test_memory_stays_bounded_under_huge_bodies(server: Running) -> None:
    def resident() -> int:
        lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // KIB

    if not Path("/proc/self/status").exists():
        return  # only Linux tells
    server.post_event(envelope("evt_warm"))
    before = resident()
    head = request(b"", "Transfer-Encoding: chunked", length=False)
    hoses = [threading.Thread(target=_pour, args=(server.port, head)) for _ in range(8)]
    for hose in hoses:
        hose.start()
    for hose in hoses:
        hose.join()
    assert resident() - before < 50
    until(lambda: server.post_event(envelope("evt_after_flood")) == 200)


def _pour(port: int, head: bytes) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head)
            for _ in range(300):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
    except OSError:
        pass
