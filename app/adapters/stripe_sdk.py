"""The field catalogue of Stripe's events, read out of the installed SDK's source and written for `rules.catalogue`.

The SDK's annotations stand behind TYPE_CHECKING and its docs are bare strings after them, so that only the source text
has both; `ast` reads it without importing. The texts of event types are not in the Python SDK: they were taken from the
type declarations of the npm package `stripe` 23.1.0 of the same API version (stripe_events.json).
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rules.catalogue import DATA

TEXTS = Path(__file__).with_name("stripe_events.json")
Row = list[Any]

# Event types whose object the SDK does not type, or types wrongly: longest prefix first. Two of them are unions.
OVERRIDES: Mapping[str, tuple[str, ...]] = {
    "account.application.": ("application",),
    "account.external_account.": ("bank_account", "card"),
    "application_fee.refund.": ("fee_refund",),
    "billing.alert.triggered": ("billing.alert_triggered",),
    "charge.dispute.": ("dispute",),
    "charge.refund.": ("refund",),
    "customer.discount.": ("discount",),
    "customer.source.": ("source", "card", "bank_account"),
    "customer.subscription.": ("subscription",),
    "customer.tax_id.": ("tax_id",),
    "source.mandate_notification": ("source_mandate_notification",),
    "source.transaction.": ("source_transaction",),
    "sigma.scheduled_query_run.": ("scheduled_query_run",),
}


def write_catalogue(path: Path = DATA) -> Path:
    """Write the catalogue of the installed SDK, the same bytes for the same SDK; the path."""
    text = json.dumps(build_catalogue(), separators=(",", ":"), ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    return path


def build_catalogue() -> dict[str, Any]:
    """The catalogue as JSON; its form is described in `rules.catalogue`. Takes about a second."""
    spec = find_spec("stripe")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("The Python package `stripe` is not installed.")
    sdk = _Sdk(Path(spec.submodule_search_locations[0]))
    texts: dict[str, dict[str, str]] = json.loads(TEXTS.read_text())
    classes = _Classes(sdk)
    events = {
        type: [texts[type]["title"], texts[type]["description"], [classes.index(name) for name in sdk.objects(type)]]
        for type in sdk.event_types()
    }
    return {
        "sdk": version("stripe"),
        "api_version": sdk.api_version(),
        "events": events,
        "classes": classes.rows,
        "names": classes.names,
        "enums": classes.enums,
        "texts": classes.texts,
    }


class _Sdk:
    """The source of the SDK: its modules as syntax trees, its table of object classes, its event classes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trees: dict[str, ast.Module] = {}
        self.classes = self._object_classes()
        self.thin = self._thin()

    def tree(self, module: str) -> ast.Module:
        if module not in self.trees:
            path = self.root.joinpath(*module.split(".")[1:]).with_suffix(".py")
            if not path.exists():
                path = path.with_suffix("") / "__init__.py"
            self.trees[module] = ast.parse(path.read_text())
        return self.trees[module]

    def api_version(self) -> str:
        for node in ast.walk(self.tree("stripe._api_version")):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CURRENT":
                return str(ast.literal_eval(node.value))
        raise LookupError("The SDK names no API version.")

    def event_types(self) -> list[str]:
        event = next(c for c in _classes(self.tree("stripe._event")) if c.name == "Event")
        annotation = next(annotation for name, annotation, _ in _fields(event) if name == "type")
        return sorted(str(node.value) for node in ast.walk(annotation) if isinstance(node, ast.Constant))

    def objects(self, event_type: str) -> tuple[str, ...]:
        """The object classes that an event of this type may carry."""
        for prefix in sorted(OVERRIDES, key=len, reverse=True):
            if event_type.startswith(prefix):
                return OVERRIDES[prefix]
        return (self.thin.get(event_type) or self._by_prefix(event_type),)

    def _by_prefix(self, event_type: str) -> str:
        words = event_type.replace("issuing_", "issuing.").split(".")
        for end in range(len(words), 0, -1):
            name = ".".join(words[:end])
            if name in self.classes:
                return name
        raise LookupError(f"No object class for the event type {event_type}.")

    def _object_classes(self) -> dict[str, tuple[str, str]]:
        for node in self.tree("stripe._object_classes").body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "OBJECT_CLASSES" and node.value:
                found: dict[str, tuple[str, str]] = ast.literal_eval(node.value)
                return found
        raise LookupError("The SDK has no OBJECT_CLASSES.")

    def _thin(self) -> dict[str, str]:
        """Event type -> object class, from what the thin event's `fetch_related_object` returns."""
        found = {}
        names: dict[tuple[str, str] | None, str] = {}
        for name, where in self.classes.items():
            names.setdefault(where, name)
        for path in sorted((self.root / "events").glob("_v1_*_event.py")):
            module = f"stripe.events.{path.stem}"
            imports = _imports(self.tree(module))
            type = re.search(r'LOOKUP_TYPE = "v1\.([^"]+)"', path.read_text())
            place = imports.get(_returned(self.tree(module), "fetch_related_object"))
            if type and place in names:
                found[type[1]] = names[place]
        return found


class _Classes:
    """Every class that events reach, each once: a list of rows [name, type, nullable, reference, text]."""

    def __init__(self, sdk: _Sdk) -> None:
        self.sdk = sdk
        self.rows: list[list[Row] | None] = []
        self.names: dict[str, str] = {}  # class number -> object name
        self.enums: list[list[str]] = []
        self.texts: list[str] = [""]
        self._places: dict[tuple[str, str], int] = {}
        self._enum_numbers: dict[tuple[str, ...], int] = {}
        self._text_numbers: dict[str, int] = {"": 0}

    def index(self, object_name: str) -> int:
        module, name = self.sdk.classes[object_name]
        number = self.number(module, name)
        self.names[str(number)] = object_name
        return number

    def number(self, module: str, name: str) -> int:
        """The number of a class; `Outer.Inner` for a nested one."""
        place = (module, name)
        if place not in self._places:
            self._places[place] = number = len(self.rows)
            self.rows.append(None)
            node = _find(self.sdk.tree(module), name)
            own = _object_name(node)
            if own:
                self.names[str(number)] = own
            self.rows[number] = [self.row(module, name, *field) for field in _fields(node)]
        return self._places[place]

    def row(self, module: str, owner: str, name: str, annotation: ast.expr, doc: str) -> Row:
        type, nullable, reference = self.type(module, owner, annotation)
        text = _tidy(doc)
        if type == "integer":
            type = "time" if _is_time(name, text) else "amount" if _is_amount(name, text) else "number"
        if type == "text" and name == "id":
            type = "id"
        return [name, type, int(nullable), reference, self.text(text)]

    def type(self, module: str, owner: str, node: ast.expr) -> tuple[str, bool, Any]:
        """(type, may be null or absent, reference: class numbers, an enum's number, or a list's item)."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return "object", False, [self.resolve(module, owner, node.value)]
        if isinstance(node, ast.Name):
            return self.plain(module, owner, node.id)
        assert isinstance(node, ast.Subscript), ast.unparse(node)
        outer = ast.unparse(node.value)
        inner = node.slice
        match outer:
            case "Optional":
                type, _, reference = self.type(module, owner, inner)
                return type, True, reference
            case "ExpandableField":
                return "id", False, None
            case "Literal":
                return self.literal(inner)
            case "Union":
                return self.union(module, owner, inner)
            case "List":
                type, _, reference = self.type(module, owner, inner)
                return "list", False, [type, reference]
            case "ListObject":
                return "page", False, self.type(module, owner, inner)[2]
            case "UntypedStripeObject" | "Dict":
                return ("map" if "str" in ast.unparse(inner) else "any"), False, None
        raise LookupError(f"unknown annotation {ast.unparse(node)}")

    def plain(self, module: str, owner: str, name: str) -> tuple[str, bool, Any]:
        known = {"str": "text", "int": "integer", "bool": "boolean", "float": "number", "Decimal": "decimal"}
        if name in known:
            return known[name], False, None
        if name in ("Any", "object"):
            return "any", False, None
        return "object", False, [self.resolve(module, owner, name)]

    def literal(self, node: ast.expr) -> tuple[str, bool, Any]:
        values = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
        if all(isinstance(value, bool) for value in values):
            return "boolean", False, None
        return "enum", False, self.enum(tuple(sorted(map(str, values))))

    def union(self, module: str, owner: str, node: ast.expr) -> tuple[str, bool, Any]:
        assert isinstance(node, ast.Tuple)
        parts = [self.type(module, owner, part) for part in node.elts]
        kinds = {part[0] for part in parts}
        if kinds <= {"enum", "text"}:
            return next((part for part in parts if part[0] == "enum"), parts[0])
        if kinds == {"object"}:
            return "object", False, [number for part in parts for number in part[2]]
        return "any", False, None

    def resolve(self, module: str, owner: str, name: str) -> int:
        """The class that an annotation names: nested in its owner, in the module, or imported."""
        outer = owner.split(".")
        for depth in range(len(outer), -1, -1):
            nested = ".".join([*outer[:depth], name])
            if _find(self.sdk.tree(module), nested, missing_ok=True) is not None:
                return self.number(module, nested)
        imported, original = _imports(self.sdk.tree(module))[name]
        return self.number(imported, original)

    def enum(self, values: tuple[str, ...]) -> int:
        if values not in self._enum_numbers:
            self._enum_numbers[values] = len(self.enums)
            self.enums.append(list(values))
        return self._enum_numbers[values]

    def text(self, text: str) -> int:
        if text not in self._text_numbers:
            self._text_numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._text_numbers[text]


# ---- syntax ---------------------------------------------------------------------------------------------------------
def _classes(tree: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def _find(tree: ast.Module, name: str, missing_ok: bool = False) -> Any:
    node: ast.Module | ast.ClassDef | None = tree
    for part in name.split("."):
        node = next((one for one in _classes(node) if one.name == part), None) if node else None
    if node is None and not missing_ok:
        raise LookupError(f"no class {name}")
    return node


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, str]]:
    """(name, annotation, doc) of a class's fields, with the name that Stripe sends."""
    for index, line in enumerate(node.body):
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(line.annotation) or line.target.id.startswith("_"):
            continue
        after = node.body[index + 1] if index + 1 < len(node.body) else None
        doc = after.value if isinstance(after, ast.Expr) else None
        text = doc.value if isinstance(doc, ast.Constant) and isinstance(doc.value, str) else ""
        name = line.target.id
        yield name.rstrip("_") if name.endswith("_") else name, line.annotation, text


def _object_name(node: ast.ClassDef) -> str | None:
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == "OBJECT_NAME":
            return str(ast.literal_eval(line.value)) if line.value else None
    return None


def _returned(tree: ast.Module, function: str) -> str:
    """The name of the class that a method says it returns, or nothing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function and isinstance(node.returns, ast.Constant):
            return str(node.returns.value)
    return ""


def _imports(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Local name -> (module, its name there)."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module, alias.name)
    return found


# ---- meaning --------------------------------------------------------------------------------------------------------
def _tidy(doc: str) -> str:
    """The first sentences of a description, without links."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(doc.split()))
    text = text.replace("&mdash;", "—").replace("&nbsp;", " ")
    if len(text) <= 240:
        return text
    cut = text[:240].rfind(". ")
    return text[: cut + 1] if cut > 60 else text[:239].rstrip() + "…"


def _is_time(name: str, text: str) -> bool:
    if re.search(r"count|days|months|year|percent|number|quantity|seconds|attempts|offset", name):
        return False
    if "Unix epoch" in text or "timestamp" in text.lower() or re.search(r"(^|_)(at|date|start|end|time)$", name):
        return True
    return bool(re.match(r"(If [^,]*, )?(the )?(time|date|point in time)\b", text, re.IGNORECASE))


def _is_amount(name: str, text: str) -> bool:
    if re.search(r"(?<!dis)count|percent|bps|days|number|quantity|points|interval|rate", name):
        return False
    if re.search(r"(^|_)(amount|total|subtotal|balance|fee|net|tax|refunded|limit|unit_cost)(_|$)", name):
        return True
    return bool(re.search(r"smallest currency unit|minor units?|in cents|\(in %s\)", text, re.IGNORECASE))


if __name__ == "__main__":
    write_catalogue()
