"""The shapes of Stripe's events in one release of its SDK, read out of its source and written for `rules.registry`.

`python -m app.adapters.stripe_schemas` writes those of the installed SDK; with folders of unpacked older wheels
(`pip download --no-deps stripe==11.6.0`, then unzip) it writes theirs: each under the API version that it pins.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.adapters.stripe_sdk import _Classes, _classes, _object_name, _Sdk
from rules.registry import FOLDER


def write_shapes(root: Path, release: str, types: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """Write the shapes of an SDK, the same bytes for the same SDK; the path. types: see `_Release`."""
    body = build_shapes(root, release, types)
    path = FOLDER / f"{body['api_version']}.json.gz"
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    return path


def build_shapes(root: Path, release: str, types: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, Any]:
    """The shapes as JSON; their form is described in `rules.registry`. root: the folder of the package `stripe`."""
    sdk = _Release(root, types or {})
    shapes = _Shapes(sdk)
    events = {type: [shapes.index(name) for name in sdk.objects(type)] for type in sdk.event_types()}
    return {
        "sdk": release,
        "api_version": sdk.api_version(),
        "events": events,
        "thin": sdk.thin_types(),
        "classes": [dict(row) for row in shapes.rows if row is not None],
        "names": shapes.names,
    }


def installed() -> tuple[Path, str]:
    """The folder and the release of the installed SDK."""
    spec = find_spec("stripe")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("The Python package `stripe` is not installed.")
    return Path(spec.submodule_search_locations[0]), version("stripe")


def event_objects(root: Path) -> dict[str, tuple[str, ...]]:
    """Which object classes each event type of an SDK carries."""
    sdk = _Sdk(root)
    return {type: sdk.objects(type) for type in sdk.event_types()}


class _Release(_Sdk):
    """An SDK of any release since 11. types: what each event type carries by a newer release, which says so in its
    thin events; older ones have none of these."""

    def __init__(self, root: Path, types: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(root)
        self._types = types

    def objects(self, event_type: str) -> tuple[str, ...]:
        known = self._types.get(event_type, ())
        found = tuple(name for name in known if name in self.classes)
        return found if found and len(found) == len(known) else super().objects(event_type)

    def thin_types(self) -> list[str]:
        """The types of thin events that this release has a class for."""
        lookups = (re.search(r'LOOKUP_TYPE = "([^"]+)"', path.read_text()) for path in self._event_modules())
        return sorted({found[1] for found in lookups if found})

    def _event_modules(self) -> Iterator[Path]:
        return (self.root / "events").glob("_v*_event.py")

    def _object_classes(self) -> dict[str, tuple[str, str]]:
        try:
            return super()._object_classes()
        except (LookupError, ValueError):  # before 13 the table names the classes themselves
            return dict(self._declared())

    def _declared(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Object name -> (module, class), of every class that says its name; the first module of a name counts."""
        seen: set[str] = set()
        for path in sorted(self.root.rglob("_*.py")):
            if "OBJECT_NAME" not in path.read_text() or path.name == "_object_classes.py":
                continue
            module = ".".join(["stripe", *path.relative_to(self.root).with_suffix("").parts])
            for node in _classes(self.tree(module)):
                name = _object_name(node)
                if name and name not in seen and "v2" not in path.parts:
                    seen.add(name)
                    yield name, (module, node.name)


class _Shapes(_Classes):
    """The same walk as the catalogue's, but of the bare JSON types: no texts, no words, no meaning."""

    def row(self, module: str, owner: str, name: str, annotation: ast.expr, doc: str) -> Any:
        return name, _spec(*self.type(module, owner, annotation))

    def type(self, module: str, owner: str, node: ast.expr) -> tuple[str, bool, Any]:
        """Keys of one's own hold texts, or whatever it is: amounts by currency, for one."""
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Dict":
            return ("map" if ast.unparse(node.slice) in ("str, str", "(str, str)") else "any"), False, None
        return super().type(module, owner, node)


def _spec(type: str, nullable: bool, reference: Any) -> Any:
    """`"text"`, `"text?"` when it may be null, or `["object?", [3, 7]]` where it refers to classes."""
    plain = {"enum": "text", "decimal": "text"}.get(type, type) + ("?" if nullable else "")
    if type == "list":
        item, inner = reference
        return [plain, _spec(item, False, inner)]
    return [plain, list(reference)] if type in ("object", "page") else plain


if __name__ == "__main__":
    here, release = installed()
    write_shapes(here, release)
    for folder in map(Path, sys.argv[1:]):
        found = next(folder.glob("stripe-*.dist-info")).name.removeprefix("stripe-").removesuffix(".dist-info")
        write_shapes(folder / "stripe", found, event_objects(here))
