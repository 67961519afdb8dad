"""Where personal values stand in Stripe's objects, and how they are replaced; what a token is belongs to the vault.

Personal is what names, reaches or locates a person, and every secret that opens something (client secrets, card
numbers, sign-in links). What looks so and stays in the clear is listed with its reason in `rules.personal_clear`.
The seller's free text is not declared; instead an e-mail address is found wherever it stands, in metadata and notes
alike. An object of a class that nobody has declared is searched by the names of its keys, at every depth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from rules.personal_paths import CLASSES, EMBEDDED, LOOKS_PERSONAL, METADATA_KEY, OBJECT, PERSONAL, UNKNOWN, Node
from rules.personal_sorts import sort_of

Replace = Callable[[Sequence[str]], Sequence[str]]
ReplaceSorted = Callable[[Sequence[str], Sequence[str]], Sequence[str]]  # texts and their sorts
Place = tuple[Any, Any]  # (container, key or index): container[key] holds a personal value

# An address is looked for from its `@` (`%40` in the query of a link) to both sides, each part bounded, so that no text
# takes more than linear time: a search for its beginning took 64 steps a letter.
_AT: Final = re.compile("@|%40")
_LOCAL_BACKWARDS: Final = re.compile(r"[^\s@<>\"'(),;:\[\]\\/=]+")
_DOMAIN: Final = re.compile(r"\w(?:[\w.-]{0,252}\w)?")
_LONGEST_LOCAL: Final = 64
TOKEN: Final = re.compile(r"tok_[0-9A-Za-z_-]{16,}(?:@[^\s@]+)?")
_OURS: Final = re.compile(r"tok_[0-9a-f]{24}(?![0-9A-Za-z_-])(?:@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)?")  # not Stripe's


# ---- asking ---------------------------------------------------------------------------------------------------------
def is_personal(object_class: str, path: str | Sequence[str]) -> bool:
    """Whether the field at this path of the object is personal. path: dotted or keys, from the object or from the
    envelope (`data.object.customer_email`); list marks `[]` and indexes may be left in."""
    keys = [key.removesuffix("[]") for key in (path.split(".") if isinstance(path, str) else path)]
    if keys[:2] in (["data", "object"], ["data", "previous_attributes"]):
        keys = keys[2:]
    nodes: list[Node] = [CLASSES.get(object_class, UNKNOWN)]
    for at, key in enumerate(keys):
        if PERSONAL in nodes or (any(node is UNKNOWN for node in nodes) and any(map(looks_personal, keys[at:]))):
            return True
        if not (key == "" or key.isdigit() or _is_list_page(key, nodes)):
            nodes = [below for node in nodes for below in _below(node, key)]
    return PERSONAL in nodes


@lru_cache(4096)
def looks_personal(key: str) -> bool:
    """Whether the name of a key says that what stands there names, reaches, locates or opens something."""
    return LOOKS_PERSONAL.search(key) is not None


def _is_list_page(key: str, nodes: Sequence[Node]) -> bool:
    """The `data` of a list object, which the declarations leave out."""
    return key == "data" and not any("data" in node for node in nodes if isinstance(node, Mapping))


def _below(node: Node, key: str) -> list[Node]:
    """What is declared for a key; for an embedded object what is for each class it may have."""
    found = node.get(key, node.get("*")) if isinstance(node, Mapping) else None
    if found == OBJECT:
        return [CLASSES.get(name, UNKNOWN) for name in EMBEDDED.get(key, (key,))]
    return [] if found is None else [found]


# ---- finding --------------------------------------------------------------------------------------------------------
def places(envelope: Mapping[str, Any]) -> list[Place]:
    """Every declared place of a Stripe event that holds a value; walks declared paths only."""
    found: list[Place] = []
    data = envelope.get("data")
    if isinstance(data, dict):
        current = data.get("object")
        if isinstance(current, dict):
            node = _declared(current)
            _walk(current, node, found)
            previous = data.get("previous_attributes")
            if isinstance(previous, dict):
                _walk(previous, node, found)
    return found


def object_places(document: Any) -> list[Place]:
    """The same for one API object or a list of them, such as a response's body."""
    found: list[Place] = []
    _enter(document, found)
    return found


def _declared(thing: Mapping[str, Any]) -> Node:
    """What is declared for the class that an object says it has; whatever is no such name is searched."""
    name = thing.get("object")
    return CLASSES.get(name, UNKNOWN) if isinstance(name, str) else UNKNOWN


def _walk(container: Any, node: Node, found: list[Place]) -> None:
    """Collect the places below a container of JSON that its node declares. Every event passes here, so it asks for what
    is declared and not for what is there, by exact types."""
    if type(container) is list:
        for item in container:
            _walk(item, node, found)
        return
    if type(container) is not dict or type(node) is not dict:
        return
    if node is UNKNOWN:
        _search(container, found)
        return
    get = container.get
    if get("object") == "list" and "data" not in node:
        _walk(get("data"), node, found)
        return
    if metadata := get("metadata"):
        _metadata(metadata, found)
    rest: Any = node.get("*")
    if rest is not None:
        for name, inner in container.items():
            if inner:
                _take(container, name, inner, node.get(name, rest), found)
        return
    for name, below in node.items():
        if inner := get(name):
            if type(inner) is not str:
                _take(container, name, inner, below, found)
            elif below is PERSONAL and (inner[:4] != "tok_" or not TOKEN.fullmatch(inner)):
                found.append((container, name))


def _take(container: Any, name: str, value: Any, below: Node, found: list[Place]) -> None:
    """A value that is there and of which something is declared."""
    if value is True or name == "metadata":
        return
    if below is PERSONAL:
        _leaf(container, name, value, found)
    elif below is OBJECT:
        _enter(value, found)
    else:
        _walk(value, below, found)


def _search(container: Mapping[str, Any], found: list[Place]) -> None:
    """Everything below a key that looks personal, in an object of no declared class; what is declared goes its way."""
    for name, value in container.items():
        if name == "metadata":
            _metadata(value, found)
        elif looks_personal(name):
            _leaf(container, name, value, found)
        elif isinstance(value, (dict, list)):
            _search_below(value, found)


def _search_below(value: Any, found: list[Place]) -> None:
    if isinstance(value, dict):
        _walk(value, _declared(value), found)
    elif isinstance(value, list):
        for item in value:
            _search_below(item, found)


def _enter(value: Any, found: list[Place]) -> None:
    """Walk an embedded object, or a list of them, by its own class."""
    if isinstance(value, list):
        for item in value:
            _enter(item, found)
    elif isinstance(value, dict):
        if value.get("object") == "list":
            _enter(value.get("data"), found)
        else:
            _walk(value, _declared(value), found)


def _leaf(container: Any, key: Any, value: Any, found: list[Place]) -> None:
    """A personal value, or every value inside a personal container."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _leaf(value, name, inner, found)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _leaf(value, index, inner, found)
    elif isinstance(value, bool) or value is None or value == "":
        return
    elif not (isinstance(value, str) and TOKEN.fullmatch(value)):
        found.append((container, key))


def _metadata(metadata: Any, found: list[Place]) -> None:
    if isinstance(metadata, dict):
        for key, value in metadata.items():
            if isinstance(value, str) and METADATA_KEY.search(key):
                _leaf(metadata, key, value, found)


# ---- replacing ------------------------------------------------------------------------------------------------------
def replace(found: Sequence[Place], replacing: Replace) -> None:
    """Put a token at every place, in place. replacing: texts to their tokens, in order (the vault's tokenise)."""
    if found:
        _put(found, replacing(_texts_at(found)))


def _texts_at(found: Sequence[Place]) -> list[str]:
    return [str(container[key]) for container, key in found]


def _put(found: Sequence[Place], tokens: Sequence[str]) -> None:
    for (container, key), token in zip(found, tokens, strict=True):
        container[key] = token


def replace_emails(document: Any, replacing: Replace) -> None:
    """Put a token in the place of every e-mail address in any text or key below; the rest of the text stays."""
    found = sorted({address for text in _texts(document) for address in addresses(text)})
    if found:
        _rewrite(document, dict(zip(found, replacing(found), strict=True)))


def disarm(envelope: dict[str, Any], replacing: ReplaceSorted) -> None:
    """Put a token of its own in the place of whatever a sender wrote that looks like one of ours. Who has seen one, and
    writes it into a field of the own order, would be sent the value behind it."""
    found = sorted({one[0] for text in _texts(envelope) if "tok_" in text for one in _OURS.finditer(text)})
    if found:
        tokens = dict(zip(found, replacing(found, ["other"] * len(found)), strict=True))
        _rewrite_where(envelope, lambda text: _OURS.sub(lambda one: tokens[one[0]], text))


def _rewrite_where(document: Any, changed: Callable[[str], str]) -> None:
    """Every text and key below as `changed` has it, in place."""
    for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
        if isinstance(value, (dict, list)):
            _rewrite_where(value, changed)
        elif isinstance(value, str) and "tok_" in value:
            document[key] = changed(value)
        if isinstance(key, str) and "tok_" in key:
            document[changed(key)] = document.pop(key)


def cleanse(envelope: dict[str, Any], replacing: ReplaceSorted, at_signs: int | None = None) -> None:
    """Replace every personal value of an event, in place. at_signs: how many `@` its raw text holds, if counted: when
    the declared places account for all of them the search for strays, a walk of the whole event, is spared."""
    accounted = 0
    if found := places(envelope):
        texts = _texts_at(found)
        accounted = "".join(texts).count("@")
        _put(found, replacing(texts, [sort_of(key) for _, key in found]))
    if at_signs is None or at_signs > accounted:
        replace_emails(envelope, lambda texts: replacing(texts, ["email"] * len(texts)))


def scrub(document: Any, replacing: Replace) -> None:
    """The same for any recorded request or response: a Stripe object, a list of them, or any JSON."""
    replace(object_places(document), replacing)
    replace_emails(document, replacing)


def addresses(text: str) -> Iterable[str]:
    return (text[start:end] for start, end in _spans(text)) if _may_hold(text) else ()


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the e-mail addresses of a text stand; tokens, which look like them, are left out."""
    last = 0
    for found in _AT.finditer(text):
        if found.start() < last:
            continue
        before = text[max(last, found.start() - _LONGEST_LOCAL) : found.start()][::-1]
        local, domain = _LOCAL_BACKWARDS.match(before), _DOMAIN.match(text, found.end())
        if local and domain:
            start, last = found.start() - local.end(), domain.end()
            if not TOKEN.fullmatch(text, start, last):
                yield start, last


def _may_hold(text: str) -> bool:
    return "@" in text or "%40" in text


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)


def _rewrite(document: Any, tokens: Mapping[str, str]) -> None:
    """Replace the addresses below, in place; a key that holds one is renamed."""
    for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
        if isinstance(value, (dict, list)):
            _rewrite(value, tokens)
        elif isinstance(value, str) and _may_hold(value):
            document[key] = _replaced(value, tokens)
        if isinstance(key, str) and _may_hold(key):
            document[_replaced(key, tokens)] = document.pop(key)


def _replaced(text: str, tokens: Mapping[str, str]) -> str:
    parts, last = [], 0
    for start, end in _spans(text):
        parts += [text[last:start], tokens.get(text[start:end], text[start:end])]
        last = end
    return "".join((*parts, text[last:]))
