"""What a rule document is checked against: the event types it speaks of, Stripe's fields, and the actions there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rules import paths
from rules.aliases import Path
from rules.fact_fields import known_field
from rules.facts import CARRIES, nearest_fact
from rules.fields import OBJECT, PREVIOUS, Catalogue, FieldInfo
from rules.ports import ActionExecutor
from rules.reading import Node, nearest
from rules.subjects import LEGACY, PREFIX, carried_by

_KNOWN = frozenset({"fact", "score"})


@dataclass(slots=True)
class Context:
    """catalogue and actions: None when documents are read without being checked against them.

    types: the trigger's event types. declared: paths that settings declare as subjects. steps: names of the steps
    before the place that is being read; `step.<name>....` may be read there, and nowhere when it is None. scores: the
    scores that are declared, None when that is not checked.
    """

    catalogue: Catalogue | None
    actions: Mapping[str, ActionExecutor] | None
    declared: Sequence[str] = ()
    types: tuple[str, ...] = ()
    steps: list[str] | None = None
    names: set[str] = field(default_factory=set)
    scores: Collection[str] | None = None

    def event_names(self) -> list[str] | None:
        return None if self.catalogue is None else [type.name for type in self.catalogue.event_types()]

    # ---- fields -----------------------------------------------------------------------------------------------------
    def path(self, node: Node, inside: str = "") -> tuple[str, Path, list[FieldInfo]] | None:
        """The path that a node holds, with what the catalogue knows of it (nothing when it is not asked).

        inside: the path of the list whose items it starts in, `data.object.lines.data`, or empty for the event.
        """
        text = node.text("a field", 300)
        if text is None:
            return None
        try:
            path = paths.split(text)
        except ValueError as error:
            node.error(str(error))
            return None
        if any(key.endswith("[]") for key in path):
            start = text.partition("[]")[0]
            node.error(f"{text!r} goes through a list: test {start!r} with 'any item', 'all items' or 'no item'", start)
            return None
        if inside and not paths.from_root(path):
            return self._known(node, text, path, f"{inside}[].{text}")
        if path[0] == "step":
            return (text, path, []) if self._step(node, path) else None
        return self._known(node, text, path, text)

    def own_path(self, node: Node) -> tuple[str, Path, list[FieldInfo]] | None:
        """The path of a field of the event itself: what is known beyond it can be neither counted nor added up."""
        found = self.path(node)
        if found and found[1][0] in _KNOWN:
            node.error(f"{found[0]} is no field of the event, which is what counts here", "data.object.amount_due")
            return None
        return found

    def _known(self, node: Node, text: str, path: Path, full: str) -> tuple[str, Path, list[FieldInfo]] | None:
        if self.catalogue is None:
            return text, path, []
        if path[0] in _KNOWN:
            return self._beyond(node, text, path)
        where = full.replace(".".join(PREVIOUS), ".".join(OBJECT), 1) if path[:2] == PREVIOUS else full
        found = [info for type in self.types if (info := self.catalogue.field(type, where))]
        if found or not self.types:
            return text, path, found
        close = self.catalogue.nearest(self.types[0], where)
        if close and full != text:
            close = close.partition("[].")[2] or close
        classes = sorted({self._class(type) for type in self.types})
        node.error(f"unknown field {_after(text)!r} on {' or '.join(classes)}", close)
        return None

    def _beyond(self, node: Node, text: str, path: Path) -> tuple[str, Path, list[FieldInfo]] | None:
        """A fact or a score, and whether these events say whose it is."""
        found = known_field(".".join(path))
        if found is None or (path[0] == "score" and self.scores is not None and path[1] not in self.scores):
            near = nearest_fact(text) if path[0] == "fact" else nearest(path[-1], self.scores or ())
            near = f"score.{near}" if near and path[0] == "score" else near
            node.error(f"there is no {path[0]} {'.'.join(path[1:])!r}", near)
            return None
        subject = path[1] if path[0] == "fact" else "customer"
        for type in self.types:
            carried = carried_by(self.catalogue, type) if self.catalogue else ()
            if not any(name in carried for name in CARRIES[subject]):
                node.error(f"{type} does not say which {subject} it is about, so nothing is known of one")
                return None
        return text, path, [found]

    def _class(self, type: str) -> str:
        found = self.catalogue.event_type(type) if self.catalogue else None
        return found.object if found else type

    def _step(self, node: Node, path: Path) -> bool:
        if self.steps is None:
            node.error("a step's outcome is known to the steps after it, not to the rule's conditions")
        elif len(path) < 3:
            node.error("write step.<name>.<what>, such as step.pay.state")
        elif path[1] not in self.steps:
            node.error(f"there is no earlier step {path[1]!r}", nearest(path[1], self.steps))
        else:
            return True
        return False

    # ---- subjects ---------------------------------------------------------------------------------------------------
    def subject(self, node: Node, types: Sequence[str]) -> str | None:
        """The name of a subject that these event types carry."""
        same = node.text("'same'", 300)
        if same is None:
            return None
        if same not in PREFIX and self.catalogue is None and same.startswith("data.object."):
            return same  # what is only read, and not checked, was checked when it was published
        if same not in PREFIX and same not in self.declared:
            names = ", ".join(PREFIX)
            node.error(f"{same!r} is no subject; there are {names}, and paths declared in settings", self._near(same))
            return None
        for type in types if self.catalogue and same in PREFIX else ():
            self._carries(node, type, same)
        return same

    def _carries(self, node: Node, type: str, same: str) -> None:
        carried = carried_by(self.catalogue, type) if self.catalogue else ()
        if same in carried:
            return
        if (self._class(type), same) in LEGACY:
            node.advice(f"{type} names its {same} only in API versions before 2025-03-31.basil")
            return
        node.error(f"{type} does not say which {same} it is about", carried[0] if carried else None)

    def _near(self, same: str) -> str | None:
        return nearest(same, PREFIX) or {"fingerprint": "card", "payment": "payment_intent"}.get(same)


def _after(text: str) -> str:
    """The path without `data.object.`, as a person names the field."""
    return text.removeprefix("data.object.").removeprefix("data.previous_attributes.")
