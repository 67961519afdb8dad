"""The processes: they start and stop cleanly, share a folder as promised, and lose nothing when they are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import ADMIN_TOKEN, envelope, invoice
from tests.running import Running, free_port, running, start, until

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


def is_handled(server: Running, id: str) -> bool:
    return server.request("GET", f"/api/v1/events/{id}", headers=BEARER)[0] == 200


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(found.strip()) and not found.strip().startswith("Z")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`serve`, shared by the tests that leave it running."""
    with running(tmp_path_factory.mktemp("served") / "data", "serve") as started:
        until(lambda: "ready" in started.printed)
        yield started


# ---- running --------------------------------------------------------------------------------------------------------
def test_serve_prints_one_line_with_the_address(served: Running) -> None:
    (line,) = served.printed.splitlines()
    assert f"http://127.0.0.1:{served.port}" in line


def test_an_event_that_is_posted_is_handled_within_a_moment(served: Running) -> None:
    assert served.post_event(envelope("evt_quick")) == 200
    until(lambda: is_handled(served, "evt_quick"), seconds=10)


@pytest.mark.parametrize("part", ["web", "work"])
def test_a_part_that_is_killed_is_started_again_and_nothing_is_lost(served: Running, part: str) -> None:
    before = served.children()[part]
    assert served.post_event(envelope(f"evt_before_{part}")) == 200
    os.kill(before, signal.SIGKILL)
    until(lambda: served.children().get(part, before) != before)
    until(served.is_ready)
    assert served.post_event(envelope(f"evt_after_{part}")) == 200
    for when in ("before", "after"):
        until(lambda when=when: is_handled(served, f"evt_{when}_{part}"))
    assert "starting it again" in served.printed


def test_a_damaged_webhook_survives_the_kill_that_follows_its_200_and_is_let_on_by_a_person(served: Running) -> None:
    assert served.post_event(envelope("evt_damaged", object=invoice(attempt_count="twice"))) == 200
    before = served.children()["web"]
    os.kill(before, signal.SIGKILL)
    until(lambda: served.children().get("web", before) != before)
    until(served.is_ready)
    assert b"text stands where" in served.request("GET", "/api/v1/quarantine/evt_damaged", headers=BEARER)[1]
    body = b'{"ids": ["evt_damaged"], "note": "the registry is wrong", "as_it_is": true}'
    headers = {**BEARER, "Content-Type": "application/json"}
    assert served.request("POST", "/api/v1/quarantine/replay", body, headers)[0] == 200
    until(lambda: is_handled(served, "evt_damaged"))


@pytest.mark.parametrize(("part", "said"), [("web", "receives into"), ("work", "another worker")])
def test_a_second_one_on_the_same_folder_refuses(served: Running, part: str, said: str) -> None:
    second = start(served.data, part)
    assert second.process.wait(30) == 2
    (line,) = second.printed.splitlines()
    assert said in line
    assert "SIGNALBOX_DATA" in line


def test_a_taken_port_is_said_in_one_line(served: Running, tmp_path: Path) -> None:
    for command in ("serve", "web"):
        second = start(tmp_path / command, command, port=served.port)
        assert second.process.wait(30) == 2
        (line,) = second.printed.splitlines()
        assert str(served.port) in line
        assert "PORT" in line


# ---- stopping and starting again ------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_of_it_cleanly_and_a_new_start_goes_on(tmp_path: Path, number: int) -> None:
    with running(tmp_path / "data", "serve") as first:
        assert first.post_event(envelope("evt_first")) == 200
        children = first.children()
        assert {"web", "work"} <= set(children)
        assert first.stop(number) == 0
        assert not any(is_alive(pid) for pid in children.values())
        assert "Traceback" not in first.printed
        assert not list(first.data.glob("*-wal"))  # every file was closed
    with running(tmp_path / "data", "serve") as second:
        until(lambda: is_handled(second, "evt_first"))


def test_when_the_supervisor_is_killed_its_parts_end_by_themselves(tmp_path: Path) -> None:
    with running(tmp_path / "data", "serve") as served:
        children = served.children()
        served.process.kill()
        until(lambda: not any(is_alive(pid) for pid in children.values()), seconds=20)


def test_one_process_does_it_all(tmp_path: Path) -> None:
    with running(tmp_path / "data", "web", "--with-worker") as server:
        assert server.post_event(envelope("evt_1")) == 200
        until(lambda: is_handled(server, "evt_1"), seconds=10)
        assert server.stop() == 0


def test_web_and_worker_run_as_separate_processes_in_any_order(tmp_path: Path) -> None:
    worker = start(tmp_path / "data", "work")
    with running(tmp_path / "data", "web") as web:
        assert web.post_event(envelope("evt_1")) == 200
        until(lambda: is_handled(web, "evt_1"), seconds=10)
        assert worker.stop() == 0
        assert web.post_event(envelope("evt_2")) == 200  # receiving needs no worker
        assert not is_handled(web, "evt_2")
        tick = start(tmp_path / "data", "tick")
        assert tick.process.wait(30) == 0
        assert "1 handled" in tick.printed
        assert is_handled(web, "evt_2")


def test_port_0_takes_a_free_one_and_says_which(tmp_path: Path) -> None:
    server = start(tmp_path / "data", "serve", port=0)
    try:
        found = until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", server.printed))
        server.port = int(found[1])
        assert server.is_ready()
    finally:
        server.stop()


def test_bad_settings_are_said_all_at_once(tmp_path: Path) -> None:
    server = start(tmp_path / "data", "serve", SAMPLE="maybe", SIGNALBOX_BACKEND="oracle")
    assert server.process.wait(30) == 2
    assert all(name in server.printed for name in ("SAMPLE", "SIGNALBOX_BACKEND"))
    assert "Traceback" not in server.printed


def test_what_cannot_start_is_not_tried_for_ever(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "keys.json").write_text("no keys")
    server = start(tmp_path / "data", "serve")
    assert server.process.wait(30) == 1
    assert "Traceback" not in server.printed
    assert "keys" in server.printed


# ---- nothing lost ---------------------------------------------------------------------------------------------------
KILLS = 4


def test_what_got_a_200_is_there_after_kills_at_random_moments(tmp_path: Path) -> None:
    """P1, small: a sender that never stops, and the receiving process killed under it."""
    accepted: set[str] = set()
    over = threading.Event()
    port = free_port()

    def send(server: Running) -> None:
        number = 0
        while not over.is_set():
            id = f"evt_{number:05}"
            try:
                if server.post_event(envelope(id)) == 200:
                    accepted.add(id)
                    number += 1
            except OSError:
                over.wait(0.02)  # it is being started again; the same event is sent again, as Stripe does

    with running(tmp_path / "data", "serve", port=port) as server:  # type: ignore[arg-type]
        sender = threading.Thread(target=send, args=(server,))
        sender.start()
        for kill in range(KILLS):
            until(lambda kill=kill: len(accepted) >= 40 * (kill + 1) + kill)
            part = ("web", "work")[kill % 2]
            os.kill(server.children()[part], signal.SIGKILL)
        until(lambda: len(accepted) >= 40 * (KILLS + 1))
        over.set()
        sender.join()
        until(server.is_ready)
        for id in sorted(accepted):
            until(lambda id=id: is_handled(server, id))
