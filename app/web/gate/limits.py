"""How much may be sent to a page: bytes and fields of a form, and less by those who have not signed in."""

from __future__ import annotations

import io
from typing import IO, Any

from flask import Flask, Request, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

BODY = 8 * 1024 * 1024  # bytes: the largest upload of a page
FORM = 2 * 1024 * 1024  # bytes of a form's fields
FIELDS = 5000
STRANGER = 16 * 1024  # bytes of what anybody may send: a sign-in, an answer to an e-mail's link


class Forms(FormDataParser):
    """Werkzeug bounds the parts of multipart forms only; four million fields of the usual form took a gigabyte."""

    def _parse_urlencoded(self, stream: IO[bytes], *rest: Any) -> Any:
        body = stream.read()
        if len(body) > FORM or body.count(b"&") >= FIELDS:
            raise RequestEntityTooLarge
        return super()._parse_urlencoded(io.BytesIO(body), *rest)


class Bounded(Request):
    form_data_parser_class = Forms


def install(flask: Flask) -> None:
    flask.request_class = Bounded
    flask.config.update(MAX_CONTENT_LENGTH=BODY, MAX_FORM_MEMORY_SIZE=FORM, MAX_FORM_PARTS=FIELDS)


def for_strangers() -> None:
    """Bound the body of the request under way to what anybody may send."""
    request.max_content_length = STRANGER
