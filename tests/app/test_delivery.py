"""The courier delivers over kept-alive connections, in bounded time, and never where it must not."""

from __future__ import annotations

import datetime as dt
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.connectors.delivery import Courier, Forbidden, Undelivered, is_public
from tests.fakes.receiver import Receiver, Say


def courier(timeout: float = 5.0) -> Courier:
    return Courier(development=True, timeout=timeout)


def test_deliveries_to_one_host_share_a_connection() -> None:
    receiver, sender = Receiver(), courier()
    with receiver.running() as base:
        statuses = [sender.post(base + "/hook?a=1", {"X": "1"}, b"body").status for _ in range(3)]
    assert statuses == [200, 200, 200]
    assert receiver.connections == 1
    assert (receiver.got[0].path, receiver.got[0].body) == ("/hook?a=1", b"body")


@pytest.mark.parametrize(
    "headers",
    [{"X": "1\r\nY: 2"}, {"X": "1\nY: 2"}, {"X": "1\rY: 2"}, {"X\r\nY": "1"}, {"X Y": "1"}, {"": "1"}, {"X": "€"}],
)
def test_a_header_that_would_say_more_than_itself_is_never_sent(headers: dict[str, str]) -> None:
    receiver, sender = Receiver(), courier()
    with receiver.running() as base:
        with pytest.raises(Undelivered):
            sender.post(base, headers, b"1")
        assert sender.post(base, {"X": "1"}, b"2").status == 200
    assert [one.body for one in receiver.got] == [b"2"]


def test_the_host_is_said_with_its_port_unless_it_is_the_usual_one() -> None:
    receiver = Receiver()
    with receiver.running() as base:
        assert courier().post(base, {"Content-Length": "1"}, b"1").status == 200
    assert receiver.got[0].headers["host"] == base.removeprefix("http://")


def test_a_connection_that_the_server_closed_is_made_anew() -> None:
    receiver, sender = Receiver(), courier()
    with receiver.running() as base:
        receiver.answers = [Say(headers={"Connection": "close"}), Say()]
        assert sender.post(base, {}, b"1").status == 200
        assert sender.post(base, {}, b"2").status == 200
    assert receiver.connections == 2


@pytest.mark.parametrize(
    "say",
    [Say(how="reset"), Say(how="half", body=b"x" * 100), Say(how="hang", seconds=5), Say(how="drip", seconds=0.05)],
)
def test_no_whole_answer_in_time_is_undelivered(say: Say) -> None:
    receiver, sender = Receiver(usual=say), courier(timeout=0.4)
    started = time.monotonic()
    with receiver.running() as base, pytest.raises(Undelivered):
        sender.post(base, {}, b"x")
    assert time.monotonic() - started < 2


def test_nobody_listening_is_undelivered() -> None:
    with pytest.raises(Undelivered):
        courier().post("http://127.0.0.1:9", {}, b"x")


def test_redirects_are_not_followed() -> None:
    receiver, sender = Receiver(usual=Say(302, headers={"Location": "http://127.0.0.1:9/inside"})), courier()
    with receiver.running() as base:
        assert sender.post(base, {}, b"x").status == 302
    assert len(receiver.got) == 1


def test_a_huge_answer_is_read_in_part_and_its_connection_dropped() -> None:
    receiver, sender = Receiver(usual=Say(body=b"x" * 300_000)), courier()
    with receiver.running() as base:
        assert len(sender.post(base, {}, b"x").body) == 64 * 1024
        assert len(sender.post(base, {}, b"x").body) == 64 * 1024
    assert receiver.connections == 2


# ---- where it must not go -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://[::1]/", "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data", "https://0.0.0.0/", "https://10.0.0.1/", "https://192.168.1.1:8443/",
        "https://user@127.0.0.1/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://[fe80::1]/",
        "https://[fc00::1]/", "ftp://127.0.0.1/", "https://localhost/", "https://100.64.0.1/", "https://224.0.0.1/",
        "file:///etc/passwd", "https://", "https://a b/", "http://example.com/",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises((Forbidden, Undelivered)) as refused:
        Courier(development=False, timeout=1).post(url, {}, b"x")
    assert isinstance(refused.value, Forbidden) or "cannot be resolved" in str(refused.value)


def test_a_name_with_one_inner_address_is_refused_whole() -> None:
    sender = Courier(resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        sender.post("https://example.com/", {}, b"x")


def test_a_name_that_points_inside_the_second_time_is_refused_then() -> None:
    receiver = Receiver(usual=Say(headers={"Connection": "close"}))
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    sender = Courier(development=True, resolve=lambda host, port: answers.pop(0))
    with receiver.running() as base:
        url = base.replace("127.0.0.1", "rebinding.example")
        assert sender.post(url, {}, b"x").status == 200
        with pytest.raises(Forbidden):
            sender.post(url, {}, b"x")
    assert len(receiver.got) == 1


def test_http_leaves_this_machine_never() -> None:
    sender = Courier(development=True, resolve=lambda host, port: ["93.184.216.34"])
    with pytest.raises(Forbidden, match="https"):
        sender.post("http://example.com/", {}, b"x")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1:248:1893:25c8:1946", True), ("::ffff:93.184.216.34", True),
        ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("2002:a00:1::", False), ("::10.0.0.1", False),
        ("fe80::1%eth0", False), ("::", False), ("::1", False), ("240.0.0.1", False), ("ff02::1", False),
        ("192.0.0.192", False), ("192.0.0.8", False), ("192.88.99.1", False), ("fec0::1", False),
        ("::ffff:192.0.0.192", False), ("192.0.1.1", True),
    ],
)  # fmt: skip
def test_public_addresses_are_told_from_the_rest(address: str, public: bool) -> None:
    assert is_public(address) is public


# ---- TLS ------------------------------------------------------------------------------------------------------------
def certificate(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def over_tls(tmp_path: Path, certified: str, asked: str) -> tuple[Receiver, int]:
    """Post to https://asked, which resolves to a server here whose certificate is for another or the same name."""
    pem = certificate(tmp_path, certified)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    receiver = Receiver()
    sender = Courier(
        development=True,
        timeout=5,
        resolve=lambda host, port: ["127.0.0.1"],
        tls=ssl.create_default_context(cafile=str(pem)),
    )
    with receiver.running(tls=serving) as base:
        url = base.replace("127.0.0.1", asked)
        return receiver, [sender.post(url, {}, b"x").status for _ in range(2)][-1]


def test_tls_is_checked_against_the_name_and_not_the_pinned_address(tmp_path: Path) -> None:
    receiver, status = over_tls(tmp_path, "crm.example.com", "crm.example.com")
    assert status == 200
    assert receiver.connections == 1
    assert receiver.got[0].headers["host"].startswith("crm.example.com")


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="certificate"):
        over_tls(tmp_path, "crm.example.com", "other.example.com")
