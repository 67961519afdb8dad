"""An address that a user gives never reaches inside the network: every range, every way to write it, every hop."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import author
from app.connections.checks import url_problem
from app.connectors.delivery import Courier, Forbidden, Undelivered, is_public
from rules.rule import RuleError
from tests.builders import NOON, TENANT, services_in_memory
from tests.fakes.receiver import Receiver, Say

V4 = [
    ("0.0.0.0", "this network"), ("0.1.2.3", "this network"), ("10.0.0.1", "private"), ("10.255.255.255", "private"),
    ("100.64.0.1", "carrier NAT"), ("100.100.100.200", "Alibaba's metadata"), ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"), ("168.63.129.16", "Azure's platform"), ("169.254.0.1", "link-local"),
    ("169.254.169.254", "metadata"), ("169.254.170.2", "container credentials"), ("172.16.0.1", "private"),
    ("172.31.255.255", "private"), ("192.0.0.1", "IETF"), ("192.0.0.192", "Oracle's metadata"),
    ("192.0.2.1", "TEST-NET"), ("192.88.99.1", "6to4 relay"), ("192.168.0.1", "private"),
    ("192.168.255.255", "private"), ("198.18.0.1", "benchmarks"), ("198.19.255.255", "benchmarks"),
    ("198.51.100.1", "TEST-NET-2"), ("203.0.113.1", "TEST-NET-3"), ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"), ("240.0.0.1", "reserved"), ("255.255.255.255", "broadcast"),
]  # fmt: skip
V6 = [
    "::", "::1", "::2", "100::1", "64:ff9b:1::1", "64:ff9b:1:7f00:1::", "2001::1", "2001:2::1", "2001:10::1",
    "2001:db8::1", "3fff::1", "3fff:fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd12:3456::1", "fe80::1",
    "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "1::1", "4000::1", "8000::1", "e000::1",
    "::ffff:0:127.0.0.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1",
    "168.63.129.17", "169.253.255.255", "172.15.255.255", "172.32.0.1", "192.0.1.1", "192.167.255.255", "192.169.0.1",
    "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize(("address", "what"), V4)
def test_no_inner_address_is_public_in_any_disguise(address: str, what: str) -> None:
    assert [form for form in disguised(address) if is_public(form)] == [], what


def disguised(address: str) -> Iterator[str]:
    """The ways in which IPv6 carries an IPv4 address."""
    number = int(ipaddress.IPv4Address(address))
    yield address
    yield f"::ffff:{address}"  # mapped, RFC 4291
    yield f"::{address}"  # compatible, RFC 4291
    yield str(ipaddress.IPv6Address((0xFFFF << 48) | number).exploded) if number else "::"  # within ::/32
    yield str(ipaddress.IPv6Address((0x64FF9B << 96) | number))  # NAT64, RFC 6052
    yield str(ipaddress.IPv6Address((0x64FF9B0001 << 80) | number))  # NAT64 of one's own, RFC 8215
    yield str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))  # 6to4, RFC 3056
    yield str(ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)))  # Teredo, RFC 4380
    yield f"::ffff:0:{address}"  # translated, RFC 2765


@pytest.mark.parametrize("address", V6)
def test_no_inner_network_of_ipv6_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_the_internet_routes_is_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=6).filter(lambda ip: int(ip) >> 125 != 1))
def test_outside_of_global_unicast_only_translated_addresses_are_public(ip: ipaddress.IPv6Address) -> None:
    assert not is_public(str(ip)) or ip in ipaddress.ip_network("64:ff9b::/96") or ip.ipv4_mapped or int(ip) >> 32 == 0


# ---- as people write them -------------------------------------------------------------------------------------------
HOSTS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0x0.0x0.0x1", "0x7f.1", "017700000001",
    "0177.0.0.1", "0177.0x0.0.01", "127.0.0.1.", "localhost", "localhost.", "LOCALHOST", "lOcAlHoSt.", "0", "0.0.0.0",
    "00000000000000000000000000000177.0.0.1", "169.254.169.254", "0xA9FEA9FE", "2852039166", "0251.0376.0251.0376",
    "169.254.43518", "１２７.０.０.１", "１６９｡２５４｡１６９｡２５４", "①②⑦.⓪.⓪.①", "127。0。0。1", "ⓛocalhost",
    "10.0.0.1", "10.1", "192.168.1.1", "172.16.0.1", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]", "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]", "[fe80::1]", "[fe80::1%25lo]", "[fd00:ec2::254]", "[ff02::1]", "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
]  # fmt: skip
SHAPES = [
    "https://{}/", "https://{}:443/", "https://{}:22/", "https://{}?x", "https://{}#x", "HTTPS://{}/latest/meta-data",
    "https://user@{}/", "https://user:pass@{}/", "https://crm.example.com@{}/", "https://crm.example.com%40{}/",
    "https://{}\\@crm.example.com/", "https://{}%23@crm.example.com/", "https://{}\t/", "https://{}/ x",
    " https://{}/", "https://\n{}/", "http://{}/", "ftp://{}/", "gopher://{}/", "file://{}/etc/passwd",
    "dict://{}:11211/", "//{}/", "{}", "https:{}/", "https:/{}/", "https:///{}/", "https://{}%00.example.com/",
    "https://{}\x00.example.com/", "javascript://{}/",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_no_way_to_write_an_inner_address_is_called(host: str, no_connection: None) -> None:
    sender = Courier(development=False, timeout=1)
    for shape in SHAPES:
        with pytest.raises((Forbidden, Undelivered)):
            sender.post(shape.format(host), {}, b"x")


@pytest.fixture
def no_connection() -> Iterator[None]:
    """Fails when anything opens a connection: a refusal that came after a call would be no refusal."""
    opened: list[object] = []
    with Watching(opened.append):
        yield
    assert opened == []


class Watching:
    """Python's own audit hook; it cannot be taken away, so it is told when to stop."""

    _watchers: list[Callable[[object], None]] = []  # noqa: RUF012
    _installed = False

    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        import sys

        if not Watching._installed:
            sys.addaudithook(_audit)
            Watching._installed = True
        self._watchers.append(self._tell)

    def __exit__(self, *_: object) -> None:
        self._watchers.remove(self._tell)


def _audit(event: str, given: tuple[Any, ...]) -> None:
    if event == "socket.connect" and given[0].type & socket.SOCK_STREAM:
        for tell in Watching._watchers:
            tell(given[1])


@pytest.mark.parametrize("host", [host for host in HOSTS if host.isascii()])
def test_a_connection_to_it_is_refused_where_it_is_set_up_or_when_it_sends(host: str) -> None:
    services = services_in_memory(environment="production")
    url = f"https://{host}/hook"
    try:
        given = {"name": "crm", "type": "webhook", "url": url}
        author.save_connection(services.store, services.secrets, TENANT, given, "ada", NOON, False)
    except RuleError:
        return
    with pytest.raises((Forbidden, Undelivered)):
        Courier(development=False, timeout=1).post(url, {}, b"x")


@pytest.mark.parametrize("url", [shape.format("127.0.0.1") for shape in SHAPES])
def test_no_shape_of_an_inner_address_is_kept(url: str) -> None:
    assert url_problem(url, development=False)


# ---- hops and rebinding ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_no_redirect_is_followed_whatever_it_says(status: int) -> None:
    inside = Receiver()
    with inside.running() as secret:
        outside = Receiver(usual=Say(status, headers={"Location": secret + "/metadata", "Refresh": f"0;url={secret}"}))
        with outside.running() as base:
            assert Courier(development=True).post(base, {}, b"x").status == status
    assert inside.got == []


SOME = st.sampled_from(["127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00::1", "8.8.8.8"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(SOME, max_size=3), min_size=1, max_size=6))
def test_whatever_a_name_leads_to_next_is_checked_before_it_is_called(answers: list[list[str]]) -> None:
    """The resolver changes its mind with every question, as a rebinding one does."""
    asked: list[list[str]] = []
    called: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(answers[len(asked) % len(answers)])
        return asked[-1]

    def allowed(address: str) -> bool:
        return False if not is_public(address) else called.append(address) is not None

    sender = Courier(development=False, timeout=0.2, resolve=resolve, allowed=allowed)
    for _ in answers:
        with pytest.raises((Forbidden, Undelivered)):
            sender.post("https://crm.example.com/", {}, b"x")
    assert set(called) <= {"8.8.8.8"}
    assert len(asked) == len(answers)  # asked once for each call, and what was checked is what would be called


@pytest.mark.parametrize(
    "headers",
    [{"X-A": "a\r\nX-B: b"}, {"X-A\r\nX-B": "b"}, {"X A": "b"}, {"": "b"}, {"X-A": "a\x00b"}, {"X-A": "a\nb"}],
)
def test_no_header_brings_another(headers: dict[str, str]) -> None:
    receiver = Receiver()
    with receiver.running() as base:
        try:
            Courier(development=True).post(base, headers, b"x")
        except Undelivered:
            pass
        else:
            assert "x-b" not in {name.lower() for name in receiver.got[0].headers}


@pytest.mark.parametrize("path", ["/a\r\nX-B: b", "/a b", "/a\x00", "/a\tb", "/a\x7f"])
def test_no_path_brings_a_header(path: str) -> None:
    receiver = Receiver()
    with receiver.running() as base, pytest.raises((Forbidden, Undelivered)):
        Courier(development=True).post(base + path, {}, b"x")
    assert receiver.got == []
