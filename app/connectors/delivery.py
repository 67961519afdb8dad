"""Make one HTTP request to an address that a user gave: pinned, kept alive, bounded in time and size, not redirected.

Answers are read by http.client: all of it costs an eighth of requests per POST. The name is resolved once for each
connection, every address it has must be allowed, and the connection goes to the address that was checked.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

CONNECT = 4.0  # seconds for one of the host's addresses
TIMEOUT = 10.0  # seconds for the whole exchange, name resolution aside
IDLE = 20.0  # seconds that a connection is kept for the next delivery
KEPT = 8  # connections kept for one host
LARGEST = 64 * 1024  # bytes of an answer that are read
SPECIAL = tuple(  # set apart by IANA, and "global" to some of the Pythons that this runs on; Azure's metadata
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001:db8::/32", "3fff::/20"),
    )
)
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name (RFC 9110, 5.6.2)
UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that the internet routes (RFC 4291, 2.4)
Resolve = Callable[[str, int], list[str]]


class Undelivered(Exception):
    """No whole answer came; whether the request arrived is unknown. Try again under the same id."""


class Forbidden(Exception):
    """The address may not be called from here; the message says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """status and the first part of the body; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name. Raises Undelivered."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Undelivered(f"the name {host} cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether the internet routes to it: not private, loopback, link-local, multicast or reserved, in any disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _translated(ip)
        if inner is not None:
            return is_public(str(inner))
        if ip not in UNICAST:
            return False
    if any(ip.version == network.version and ip in network for network in SPECIAL):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside a NAT64 one (64:ff9b::/96, RFC 6052), or in the old `::a.b.c.d` form."""
    if ip in ipaddress.ip_network("64:ff9b::/96") or (int(ip) >> 32 == 0 and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _plainly(error: Exception) -> str:
    """What went wrong, for people who know the address and not the machine's words for it."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens at its address (connection refused)"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@dataclass
class Courier:
    """Sends requests; safe from many threads. development: this machine itself may be called, and without TLS."""

    development: bool = False
    timeout: float = TIMEOUT
    resolve: Resolve = resolve
    tls: ssl.SSLContext | None = None  # the system's authorities; read when first needed, which takes 50 ms
    allowed: Callable[[str], bool] = is_public

    def __post_init__(self) -> None:
        self._idle: dict[tuple[str, str, int], list[tuple[_Connection, float]]] = {}
        self._lock = threading.Lock()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One delivery. Raises Forbidden before anything is sent, Undelivered when no whole answer came."""
        return self.send("POST", url, headers, body)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", once: bool = False) -> Reply:
        """One request; unless `once`, it may arrive twice, so it must bear that. Raises as `post`."""
        parts = self._checked(url)
        started = time.monotonic()
        deadline = started + self.timeout
        reused = None if once else self._take(parts)
        try:
            if reused is not None:
                try:
                    return self._exchange(reused, method, parts, headers, body, started, deadline)
                except (http.client.RemoteDisconnected, ConnectionError):
                    pass  # the server had closed the kept connection: once more on a new one, under the same id
            fresh = self._connect(parts, deadline)
            return self._exchange(fresh, method, parts, headers, body, started, deadline)
        except TimeoutError as error:
            raise Undelivered(f"no answer within {self.timeout:g} seconds") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Undelivered(_plainly(error)) from error

    def close(self) -> None:
        with self._lock:
            for kept in self._idle.values():
                for connection, _ in kept:
                    connection.drop()
            self._idle.clear()

    # ---- where to ---------------------------------------------------------------------------------------------------
    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise Forbidden(f"the address cannot be read: {error}") from error
        if parts.scheme not in ("https", "http") or not host or parts.username or parts.password:
            raise Forbidden("the address must be https://, with a host and without a user name")
        if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
            raise Forbidden("the address holds a space or a control character")
        if parts.scheme == "http" and not self.development:
            raise Forbidden("notices go over https only")
        return parts

    def addresses(self, host: str, port: int, plain: bool = False) -> list[str]:
        """Where a name leads, every address allowed. plain: nothing is encrypted. Raises Forbidden, Undelivered."""
        addresses = self.resolve(host, port)
        for address in addresses:
            inside = self.development and is_loopback(address)
            if plain and not inside:
                raise Forbidden("without TLS (https) only this machine itself is called")
            if not inside and not self.allowed(address):
                raise Forbidden(f"{host} is {address}, which is inside a private or reserved network")
        if not addresses:
            raise Undelivered(f"the name {host} has no address")
        return addresses

    # ---- connections ------------------------------------------------------------------------------------------------
    def _connect(self, parts: SplitResult, deadline: float) -> _Connection:
        host, port = parts.hostname or "", _port(parts)
        last: OSError = OSError("no address")
        for address in self.addresses(host, port, parts.scheme == "http"):
            try:
                plain = socket.create_connection((address, port), timeout=min(left(deadline), CONNECT))
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _Connection(parts.scheme, host, port, self._secured(parts, plain, deadline))
            except OSError as error:
                last = error
        raise last

    def _secured(self, parts: SplitResult, plain: socket.socket, deadline: float) -> socket.socket:
        if parts.scheme == "http":
            return plain
        try:
            plain.settimeout(left(deadline))
            return self.context().wrap_socket(plain, server_hostname=parts.hostname)
        except BaseException:
            plain.close()
            raise

    def context(self) -> ssl.SSLContext:
        """The authorities that a server's certificate is judged by."""
        with self._lock:
            self.tls = self.tls or ssl.create_default_context()
            return self.tls

    def _take(self, parts: SplitResult) -> _Connection | None:
        with self._lock:
            kept = self._idle.get(_place(parts), [])
            while kept:
                connection, since = kept.pop()
                if time.monotonic() - since < IDLE and connection.is_quiet():
                    return connection
                connection.drop()
        return None

    def _keep(self, parts: SplitResult, connection: _Connection) -> None:
        with self._lock:
            kept = self._idle.setdefault(_place(parts), [])
            if len(kept) < KEPT:
                kept.append((connection, time.monotonic()))
                return
        connection.drop()

    def _exchange(
        self,
        connection: _Connection,
        method: str,
        parts: SplitResult,
        headers: Mapping[str, str],
        body: bytes,
        started: float,
        deadline: float,
    ) -> Reply:
        """One request and its answer; the connection is kept when both ended cleanly, else closed."""
        whole = False
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            answer = connection.asked(method, target, {"User-Agent": "Signalbox", **headers}, body, deadline)
            text = answer.read(LARGEST)
            if answer.length and len(text) < LARGEST:
                raise Undelivered(f"the answer {answer.status} broke off")
            whole = not answer.will_close and answer.isclosed()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, text, time.monotonic() - started)
        finally:
            if whole:
                self._keep(parts, connection)
            else:
                connection.drop()


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _place(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", _port(parts)


def left(deadline: float) -> float:
    """Seconds until a moment of the monotonic clock. Raises TimeoutError when it is over."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _Connection:
    """An open socket to one host. The request is one write, where http.client makes two, in two packets, and takes a
    third of an exchange's time to put its headers together; the answer is http.client's to read."""

    def __init__(self, scheme: str, host: str, port: int, opened: socket.socket) -> None:
        name = host.encode("ascii" if host.isascii() else "idna").decode()
        name = f"[{name}]" if ":" in name else name
        self._host = name if port == (443 if scheme == "https" else 80) else f"{name}:{port}"
        self._opened = opened

    def asked(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> http.client.HTTPResponse:
        """The answer to one request, its body still to be read. Raises ValueError for what no header may hold."""
        timed = _Timed(self._opened, deadline)
        timed.sendall(self._head(method, target, headers, len(body)) + body)
        answer = http.client.HTTPResponse(timed, method=method)  # type: ignore[arg-type]  # it only makes a file of it
        answer.begin()
        return answer

    def _head(self, method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
        given = {name.lower() for name in headers}
        own = {"Host": self._host, "Accept-Encoding": "identity", "Content-Length": str(length)}
        fields = [*((name, value) for name, value in own.items() if name.lower() not in given), *headers.items()]
        for name, value in fields:
            if not TOKEN.fullmatch(name) or "\r" in value or "\n" in value:
                raise ValueError(f"the header {name[:40]!r} cannot be sent")
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"{method} {target} HTTP/1.1\r\n".encode("ascii") + lines.encode("latin-1") + b"\r\n"

    def is_quiet(self) -> bool:
        """Nothing to read: the server has neither closed it nor spoken out of turn."""
        try:
            return not select.select([self._opened], [], [], 0)[0]
        except (OSError, ValueError):
            return False

    def drop(self) -> None:
        self._opened.close()


class _Timed:
    """The part of a socket that http.client uses, each operation limited to what is left of the deadline, so that a
    server which answers one byte at a time cannot hold the sender."""

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self._plain, self._deadline = plain, deadline

    def sendall(self, data: bytes) -> None:
        self._plain.settimeout(left(self._deadline))
        self._plain.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(TimedReader(self._plain, self._deadline))


class TimedReader(io.RawIOBase):
    """Reads of a socket, each limited to what is left of the deadline."""

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        super().__init__()
        self._plain, self._deadline = plain, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._plain.settimeout(left(self._deadline))
        return self._plain.recv_into(buffer)
