"""A browser without a screen: what a form would send, read from the page that a view answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

Pairs = list[tuple[str, str]]


@dataclass
class Form:
    action: str = ""
    method: str = "get"
    fields: Pairs = field(default_factory=list)
    buttons: list[dict[str, str]] = field(default_factory=list)

    def sent(self, **changes: str) -> dict[str, list[str]]:
        """The fields by name, with some typed otherwise (`when__n="3"` for `when.n`)."""
        found: dict[str, list[str]] = {}
        for name, value in self.fields:
            found.setdefault(name, []).append(value)
        return found | {name.replace("__", "."): [value] for name, value in changes.items()}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.form: Form | None = None
        self.select: tuple[str, list[str], bool] | None = None  # name, chosen, any option seen
        self.area: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.form = Form(found.get("action", ""), found.get("method", "get"))
            self.forms.append(self.form)
        if self.form is None:
            return
        if tag == "input":
            self._input(found)
        elif tag == "button":
            self.form.buttons.append(found)
        elif tag == "textarea":
            self.area = (found["name"], "")
        elif tag == "select":
            self.select = (found["name"], [], False)
        elif tag == "option" and self.select:
            name, chosen, seen = self.select
            if "selected" in found or not (seen or chosen):
                chosen = [found["value"]]
            self.select = (name, chosen, True)

    def _input(self, found: dict[str, str]) -> None:
        assert self.form is not None
        kind = found.get("type", "text")
        if not found.get("name") or kind in ("file", "submit"):
            return
        if kind in ("checkbox", "radio") and "checked" not in found:
            return
        self.form.fields.append((found["name"], found.get("value", "on" if kind == "checkbox" else "")))

    def handle_data(self, data: str) -> None:
        if self.area:
            self.area = (self.area[0], self.area[1] + data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.form = None
        elif tag == "textarea" and self.area and self.form:
            name, text = self.area
            self.form.fields.append((name, text.removeprefix("\n").replace("\n", "\r\n")))
            self.area = None
        elif tag == "select" and self.select and self.form:
            name, chosen, _ = self.select
            self.form.fields += [(name, value) for value in chosen]
            self.select = None


def forms(page: str) -> list[Form]:
    """Every form of a page."""
    reader = _Reader()
    reader.feed(page)
    return reader.forms


def form(page: str, action: str) -> Form:
    """The page's form that goes to this address."""
    return next(found for found in forms(page) if found.action == action)
