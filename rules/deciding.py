"""One decision in the making: each rule's matches, gates and runs, on what rules.hearing leaves of the runs before.

rules.decide is its door. Nothing here waits or writes; what is not there yet is asked for by NotRead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rules import gates, knowing, trace
from rules import memory as remember
from rules.decision import Decision, Match
from rules.event import Event, iso
from rules.hearing import Hearing
from rules.judging import untrue
from rules.knowing import Known, about_event
from rules.memory import DocumentOf, NotRead, Question, RunOf, Window
from rules.model import Rule, RuleVersion
from rules.ports import ABSENT, Put, Write
from rules.registering import open_record, undo_record
from rules.ruleset import Asks, Listening, Part, document_of, subject_of
from rules.run import OPEN, QUEUED, Run, run_id
from rules.steps import subjects_of
from rules.wanted import Wanted
from rules.window import EVER, Found, Passes, changes, span_of
from rules.words import happening
from rules.workflow import ABSENCE, acted, contradicted, refused, run_key, start

JSON = Mapping[str, Any]
_RUNS = 30  # started by one event at most: a commit has at most 100 writes
_SWEPT = 16  # open runs of one memory document; at each multiple those that have ended elsewhere are dropped


def around(event: Event, key: str, listening: Listening) -> Window:
    """What must be known of a key to say what the event changes: the rule's span before it and after it."""
    span = listening.span or 0
    return Window(key, listening.types, max(0, event.created - span), min(EVER, event.created + span))


def matters(event: Event, rule: Rule, candidates: frozenset[str]) -> bool:
    """Whether the event can change the matches of this rule."""
    when = rule.when
    if event.type in when.start_again_after or (when.and_not and event.type in when.and_not.types):
        return True
    if when.ignore_own and event.causation:
        return False
    if when.then and event.type in when.then.types:
        return True
    return event.type in when.types and (rule.id in candidates or when.first)


class Deciding(Hearing):
    """The rules that listen to the event, on the copies that it was heard on."""

    # ---- rules ------------------------------------------------------------------------------------------------------
    def consider(self, version: RuleVersion) -> None:
        """Find what the event does to this rule's matches, and say it in the trace."""
        event, rule = self.event, version.rule
        key = self.subject(rule.when.same)
        if key is None:
            self.miss(version, "key", f"The event has no {rule.when.same}, so it does not take part.")
        elif not self.touch(version):
            if self.telling:
                self.unaffected(version, key)
        elif span_of(rule.when) is None:
            self.match(version, key, Found(event, 1, (event,)))
        else:
            self.count(version, key)

    def subject(self, same: str | None) -> str | None:
        if same not in self.subjects:
            self.subjects[same] = subject_of(self.event, same)
        return self.subjects[same]

    def touch(self, version: RuleVersion) -> bool:
        """Whether the event can change the rule's matches; if so, the document they share gets a new version."""
        found = matters(self.event, version.rule, self.candidates)
        if found:
            self.touched[self.home(version.rule, self.event)] = None
        return found

    def unaffected(self, version: RuleVersion, key: str) -> None:
        rule = version.rule
        if rule.when.ignore_own and self.event.causation:
            sentence = f"Caused by our own action {self.event.causation}, so it does not count."
            self.miss(version, "own", sentence, key=key)
            return
        if self.telling:
            self.entries.append({**self.failed(version), "key": key})

    def failed(self, version: RuleVersion) -> JSON:
        """The entry of a rule whose conditions are not true, but for its key. Most rules fail in the same few ways at
        every event, so what is said of it is kept with the rule set."""
        parts = self.ruleset.parts[version.rule.id]
        index = self.first_untrue(parts)
        kind = version.rule.id, index, self.event.type, self.currency
        known = self.ruleset.missed.get(kind)
        if known is None:
            sentence = trace.failed_condition(parts, index, self.event.type, self.currency)
            known = self.ruleset.missed[kind] = trace.entry(version, "missed", "condition", sentence)
        return known

    def first_untrue(self, parts: Sequence[Part]) -> int:
        """Which part does not hold, -1 for none. Rules of one shop share parts: each is judged once for an event."""
        truths = self.truths
        for index, part in enumerate(parts):
            number = id(part)
            if number not in truths:
                truths[number] = bool(part.holds(self.event.data))
            if not truths[number]:
                return index
        return -1

    def count(self, version: RuleVersion, key: str) -> None:
        rule, event = version.rule, self.event
        events = self.memory.window(around(event, key, self.listening_of(rule)))
        reached = self.ruleset.program.reached
        found = changes(rule.when, event, events, self.passes(rule), lambda number: bool(reached({rule.id: number})))
        for trigger in found.gone:  # first, so that a run that stops unacted holds nothing back
            self.take_back(version, key, trigger)
        for match in found.made:
            self.match(version, key, match)
        if not found.made and not found.gone:
            self.nothing(version, key, found.here)

    def passes(self, rule: Rule) -> Passes:
        holds = self.ruleset.conditions[rule.id]
        own = rule.id in self.candidates
        return lambda event: own if event.id == self.event.id else holds(event.data)

    def nothing(self, version: RuleVersion, key: str, here: Found | None) -> None:
        rule = version.rule
        if here:
            window = trace.window_record(rule, here)
            self.miss(version, "window", trace.missed(rule, here), key=key, window=window)
        elif self.event.type in rule.when.start_again_after:
            self.miss(version, "reset", "Counting starts again here.", key=key)
        elif rule.when.first and rule.id not in self.candidates:
            self.unaffected(version, key)
        else:
            self.miss(version, "window", "It counts for this rule and triggers nothing by itself.", key=key)

    def miss(self, version: RuleVersion, gate: str, sentence: str, **more: Any) -> None:
        if self.telling:
            self.entries.append(trace.entry(version, "missed", gate, sentence, **more))

    # ---- matches ----------------------------------------------------------------------------------------------------
    def match(self, version: RuleVersion, key: str, found: Found) -> None:
        """A match: start its run, unless a gate is closed."""
        rule, trigger = version.rule, found.trigger
        evidence = tuple(event.id for event in found.counted)
        why = trace.matched(rule, found)
        more: dict[str, Any] = {"key": key}
        if trigger.id != self.event.id:
            more["trigger"] = trigger.id
        if span_of(rule.when) is not None:
            more["window"] = trace.window_record(rule, found)
        known = self.known(rule, trigger, lambda asks: asks.conditions)
        if known is not None:
            more["facts"] = known.journal()
            if false := untrue(rule, self.ruleset.asks[rule.id], trace.asked_of(rule, found), known):
                self.miss(version, "condition", false, **more)
                return
        closed = self.gate(version, key, trigger, evidence)
        if closed:
            gate, sentence = closed
            self.matches.append(Match(rule.id, version.number, key, trigger.id, evidence))
            self.entries.append(trace.entry(version, "matched", gate, f"{why} {sentence}", **more))
            return
        told = self.known(rule, trigger, lambda asks: asks.texts)
        if told is not None:
            more["facts"] = {**more.get("facts", {}), **told.journal()}
        run = self.begin(version, key, told.with_event(trigger) if told else trigger, evidence, why)
        if run.reason == QUEUED:
            self.matches.append(Match(rule.id, version.number, key, trigger.id, evidence))
            queued = "The rule is paused: no run started, and the match stands in line until somebody resumes it."
            self.entries.append(trace.entry(version, "matched", "paused", f"{why} {queued}", **more, run=run.id))
            return
        pending = run.position == ABSENCE
        self.matches.append(Match(rule.id, version.number, key, trigger.id, evidence, run.id, pending))
        more |= {"run": run.id, "tree": trace.condition_tree(rule, found, known)}
        outcome = "waiting" if pending else "fired"
        self.entries.append(trace.entry(version, outcome, None, f"{why} {_begun(run)}", **more))

    def known(self, rule: Rule, trigger: Event, wanted: Callable[[Asks], Wanted]) -> Known | None:
        """What the rule asks for as of its trigger; None when it asks for nothing, or no run could come of it."""
        asks = self.ruleset.asks.get(rule.id)
        if asks is None or not wanted(asks) or "import" in (trigger.source, self.event.source):
            return None
        return knowing.read(wanted(asks), about_event(trigger, (self.event,)), self.memory)

    def gate(self, version: RuleVersion, key: str, trigger: Event, evidence: Sequence[str]) -> tuple[str, str] | None:
        """The first gate that keeps a match from starting a run, with its sentence."""
        rule = version.rule
        if version.mode == "paused" and (version.paused_from == "watch" or rule.when.and_not):
            return "paused", "The rule is paused: recorded, and no run started."
        if iso(trigger.recorded) < version.live_from:
            return "live_from", f"Heard before version {version.number} went live."
        if "import" in (trigger.source, self.event.source):
            return "import", "Imported history starts no run."
        return (
            self.stopped_already(rule, trigger, evidence)
            or self.not_again(version, key, trigger)
            or gates.suppressed(rule, trigger, self.memory)
            or gates.held_out(rule, key)
            or self.crowded()
        )

    def stopped_already(self, rule: Rule, trigger: Event, evidence: Sequence[str]) -> tuple[str, str] | None:
        for stop in (*rule.stop_when, *self.listening_of(rule).undo):
            key = run_key(stop, subjects_of(trigger))
            for event in self.later(rule, trigger):
                if event.type in stop.types and key in event.keys and event.id not in evidence:
                    happened = f"{happening(event.type)} ({event.id})"
                    return "stopped", f"It had already happened that {happened}, which stops this rule."
        return None

    def later(self, rule: Rule, trigger: Event) -> list[Event]:
        """Recorded events since the trigger that a stop or a wait of the rule listens to."""
        subjects = subjects_of(trigger)
        windows: dict[str, Window] = {}
        for stop, _ in self.listening_of(rule).stops:
            key = run_key(stop, subjects)
            if key is None:
                continue
            window = Window(key, frozenset(stop.types), trigger.created, EVER)
            windows[key] = windows[key].merged(window) if key in windows else window
        found = self.all_of(windows.values())
        unique = {event.id: event for event in found if event.id not in (trigger.id, self.event.id)}
        return sorted(unique.values(), key=lambda event: (event.created, event.id))

    def all_of(self, windows: Iterable[Window]) -> list[Event]:
        """The events of several windows; what is missing is asked for at once."""
        found: list[Event] = []
        missing: list[Question] = []
        for window in windows:
            try:
                found.extend(self.memory.window(window))
            except NotRead as asked:
                missing.extend(asked.questions)
        if missing:
            raise NotRead(*missing)
        return found

    def not_again(self, version: RuleVersion, key: str, trigger: Event) -> tuple[str, str] | None:
        rule, mode = version.rule, _mode(version)
        body = self.bodies[self.home(rule, trigger)]
        run = run_id(version.tenant, rule.id, key, trigger.id)
        if trigger.id != self.event.id and self.run(run) is not None:
            return "re-entry", f"Its run {run} is there already."
        if not rule.again.while_open:
            for id in remember.open_runs(body, rule.id, key, mode):
                known = self.run(id)
                if known is not None and known.state in OPEN:
                    return "re-entry", f"Run {id} of this rule is still open."
                self.close(id)
        past = remember.past_triggers(body, remember.slot(rule.id, key, mode))
        return gates.too_soon(rule, trigger.created, past)

    def crowded(self) -> tuple[str, str] | None:
        if self.begun < _RUNS:
            return None
        return "crowded", f"This event has started {_RUNS} runs already, more than one event may."

    def begin(self, version: RuleVersion, key: str, trigger: Event, evidence: Sequence[str], why: str) -> Run:
        rule = version.rule
        self.begun += 1
        waits = self.listening_of(rule).wait_types
        later = [one for one in self.later(rule, trigger) if one.type in waits and one.id not in evidence]
        advance = start(version, trigger, key, evidence, self.now, why, later, version.mode == "paused")
        run = advance.run
        self.save(run, ABSENT)
        self.commands.extend(advance.commands)
        home = self.home(rule, trigger)
        if rule.again.after != 0:
            where = remember.slot(rule.id, key, run.mode)
            self.bodies[home] = remember.remembered(self.bodies[home], where, trigger.created, run.id, rule.again.after)
        if run.state in OPEN or rule.undo:
            self.register(rule, run, trigger)
        return run

    def register(self, rule: Rule, run: Run, trigger: Event) -> None:
        """Let every document that one of the run's stops or waits will read know of the run."""
        record = open_record(run, rule, self.listening_of(rule))
        undo = undo_record(run, rule, self.listening_of(rule))
        for document in {self.home(rule, trigger): None, **self.stop_documents(rule, trigger)}:
            if run.state in OPEN:
                self.bodies[document] = remember.opened(self.bodies[document], run.id, record)
            if undo:
                self.bodies[document] = remember.undoable(self.bodies[document], run.id, undo)
            self.touched[document] = None
            if run.state in OPEN and len(self.bodies[document]["open"]) % _SWEPT == 0:
                self.sweep(document)

    def sweep(self, document: str) -> None:
        """Drop the runs that have ended without an event, so that a busy customer's document stays small."""
        ids = [id for id in self.bodies[document]["open"] if id not in self.runs]
        missing = [RunOf(id) for id in ids if id not in self.memory.runs]
        if missing:
            raise NotRead(*missing)
        for id in ids:
            run = self.run(id)
            if run is None or run.state not in OPEN:
                self.close(id)

    def stop_documents(self, rule: Rule, trigger: Event) -> dict[str, None]:
        found = [document_of(trigger, home) for _, home in self.listening_of(rule).stops]
        wanted = {document: None for document in found if document}
        missing = [DocumentOf(document) for document in wanted if document not in self.bodies]
        if missing:
            raise NotRead(*missing)
        return wanted

    def take_back(self, version: RuleVersion, key: str, trigger: Event) -> None:
        """The event contradicts a match: its run stops if it has not acted, and says so if it has."""
        id = run_id(version.tenant, version.rule.id, key, trigger.id)
        run = self.run(id)
        if run is None:
            sentence = f"{trigger.id} is no match any more; no run came of it."
            self.miss(version, "contradicted", sentence, key=key, trigger=trigger.id)
            return
        now = contradicted(run, self.event, self.now).run
        if now.state == "stopped":
            now = self.unsaid(now)
        if now is not run:
            self.save(now)
        if now.state == "stopped" and not acted(now):
            for document, body in self.bodies.items():
                self.bodies[document] = remember.forgotten(body, id)
        sentence = f"It takes back the match at {trigger.id}: " + (
            "its run had not acted and stops." if now.state == "stopped" else "its run has acted and says so."
        )
        more = {"key": key, "trigger": trigger.id, "run": id}
        self.entries.append(trace.entry(version, "took_back", "contradicted", sentence, **more))

    def unsaid(self, run: Run) -> Run:
        """A stopped run without the commands that this very event gave it, by ending its wait."""
        for command in [one for one in self.commands if one.run_id == run.id]:
            self.commands.remove(command)
            run = refused(run, command.step, "the same event took the match back", self.now).run
        return run

    # ---- state ------------------------------------------------------------------------------------------------------
    def listening_of(self, rule: Rule) -> Listening:
        return self.ruleset.listening[rule.id]

    def home(self, rule: Rule, trigger: Event) -> str:
        document = document_of(trigger, self.listening_of(rule).home) or trigger.partition
        if document not in self.bodies:
            raise NotRead(DocumentOf(document))
        return document

    def decision(self) -> Decision:
        writes: list[Write] = []
        for id, body in self.bodies.items():
            read = self.memory.documents[id]
            if id in self.touched or body is not read.body:
                writes.append(Put("memory", id, body, read.version))
        writes += [Put("run", id, run.body(), version) for id, (run, version) in self.runs.items()]
        writes += [Put("command", command.id, command.body(), ABSENT) for command in self.commands]
        told = {"ruleset": self.ruleset.revision, "at": iso(self.now), "rules": self.entries, "runs": self.heard}
        return Decision(tuple(writes), told, tuple(run for run, _ in self.runs.values()), tuple(self.matches))


def _mode(version: RuleVersion) -> str:
    return "watch" if version.mode == "watch" else "live"


def _begun(run: Run) -> str:
    if run.position == ABSENCE:
        return f"Run {run.id} waits for its deadline."
    started = "is simulated (watch only)" if run.mode == "watch" else "started"
    return f"Run {run.id} {started}."
