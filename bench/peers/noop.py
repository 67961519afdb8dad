"""The floor: the raw no-op of the same server; it reads the body and answers 200. `python -m bench.peers.noop PORT`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from app.web.server import Server


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


if __name__ == "__main__":
    Server("127.0.0.1", int(sys.argv[1])).serve_application(app)
