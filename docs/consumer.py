"""An idempotent consumer of a route, to copy: `SECRET=whsec_... python docs/consumer.py 9000`. Change what `act` does."""
# ruff: noqa: E401, E501, I001, T201

import base64, hashlib, hmac, json, os, sqlite3, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

KEYS = [base64.b64decode(one.removeprefix("whsec_")) for one in os.environ["SECRET"].split()]
DB = sqlite3.connect(os.environ.get("DB", "consumer.db"))
DB.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")


def act(event: dict) -> None:
    print(event["type"], event["data"]["data"]["object"]["id"], flush=True)


class Consumer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body, status = self.rfile.read(int(self.headers["content-length"])), 204
        id, stamp, given = (self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        digests = [hmac.digest(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256) for key in KEYS]
        if not {"v1," + base64.b64encode(one).decode() for one in digests} & set(given.split()):
            status = 401
        elif abs(time.time() - int(stamp)) > 300:
            status = 400
        else:
            with DB:  # the id and what `act` writes belong into one transaction: both are there, or neither
                if DB.execute("INSERT OR IGNORE INTO seen VALUES (?)", (id,)).rowcount:
                    act(json.loads(body))
        self.send_response(status)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Consumer).serve_forever()
