"""What a page offers is held against the table of rights: buttons and links that would be refused say so instead.

Done once to the finished page, so that no template has to ask, and none can forget to. Whoever may do everything gets
the page as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from html import escape, unescape
from typing import cast
from urllib.parse import unquote, urlsplit

from flask import current_app, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from app.web.gate import roles
from app.web.gate.roles import Rights

_FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
_LINK = re.compile(r"<a\b([^>]*)>(.*?)</a>", re.DOTALL)
_BUTTON = re.compile(r"<button\b([^>]*)>")
_ATTRIBUTE = re.compile(r"([\w-]+)=\"([^\"]*)\"")
Refuse = Callable[[str, str], str]  # (method, address) -> why not, or empty
_CLOSED = "Signalbox is read-only just now."


def fitting(text: str, read_only: bool = False) -> str:
    """The page or part for this caller."""
    rights = g.get("rights") or frozenset()
    if not g.get("caller") or (rights >= roles.EVERYTHING and not read_only):
        return text
    adapter = current_app.create_url_adapter(request)
    refuse = partial(_refusal, adapter, rights, read_only)
    text = _FORM.sub(lambda found: _form(found, refuse), text)
    return _LINK.sub(lambda found: _link(found, refuse), text)


def _refusal(adapter: MapAdapter | None, rights: frozenset[roles.Right], read_only: bool, method: str, to: str) -> str:
    if adapter is None or not to.startswith("/") or to.startswith("//"):
        return ""
    try:
        endpoint, args = adapter.match(unquote(urlsplit(unescape(to)).path), method=method)
    except HTTPException:
        return ""
    table = cast(roles.Table, current_app.extensions["rights"])
    wanted = roles.needed(table, method, str(endpoint), args)
    if roles.is_free(wanted):
        return ""
    if not roles.is_allowed(rights, wanted):
        return _takes(wanted)
    return _CLOSED if read_only and roles.changes(method, str(endpoint), wanted) else ""


def _takes(wanted: Rights | None) -> str:
    return f"This takes the role {' or '.join(roles.holders(wanted or ()))}."


def _form(found: re.Match[str], refuse: Refuse) -> str:
    """A form that would be refused has its fields and buttons shut, and says why below."""
    given = dict(_ATTRIBUTE.findall(found[1]))
    method = given.get("method", "get").upper()
    why = refuse(method, given.get("action") or request.path)
    inner = _BUTTON.sub(lambda button: _button(button, method, refuse), found[2])
    others = re.search(r"<button(?=[^>]*\bformaction=)(?![^>]*\sdisabled)", inner)
    if not why or others:
        return f"<form{found[1]}>{inner}</form>"
    return f'<form{found[1]}><fieldset disabled>{inner}</fieldset><p class="help refused">{escape(why)}</p></form>'


def _button(found: re.Match[str], method: str, refuse: Refuse) -> str:
    given = dict(_ATTRIBUTE.findall(found[1]))
    to = given.get("formaction") or given.get("hx-post")
    why = refuse(method, to) if to else ""
    return f'<button{found[1]} disabled title="{escape(why)}">' if why else found[0]


def _link(found: re.Match[str], refuse: Refuse) -> str:
    given = dict(_ATTRIBUTE.findall(found[1]))
    why = refuse("GET", given.get("href", ""))
    if not why:
        return found[0]
    kind = given.get("class", "")
    return (
        f'<span class="{kind} refused" role="link" aria-disabled="true" title="{escape(why)}">{found[2]}'
        f'<span class="unseen"> ({escape(why)})</span></span>'
    )
