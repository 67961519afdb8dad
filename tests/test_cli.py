"""The command line: what each command prints, and how it says what stops it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import main
from app.services import build
from app.settings import Settings
from rules.event import iso
from tests.builders import DAY, NOON, SHARED, TENANT, body_of, envelope, event, invoice
from tests.records import command, keep_command, keep_event, keep_run, run

EXAMPLE = SHARED / "data" / "example_rule.json"
ID = "two-failed-payments"


class Cli:
    """Runs commands on a data folder of its own; keeps what the last one printed."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._settings = Settings(data=folder / "data", matcher="python", admin_token="t0ken", port=9)
        self._capture = capture
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        given = main.parser().parse_args([str(argument) for argument in arguments])
        code = int(given.run(given, self._settings) or 0)
        self.out, self.err = self._capture.readouterr()
        return code

    def json(self, *arguments: str | Path) -> Any:
        assert self(*arguments, "--json") == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


# ---- rules ----------------------------------------------------------------------------------------------------------
def test_an_empty_installation_says_what_to_do_next(cli: Cli) -> None:
    assert cli("rules", "list") == 0
    assert "no rules yet" in cli.out
    assert "rules import" in cli.out


def test_a_rule_file_is_imported_published_listed_and_read_back(cli: Cli) -> None:
    assert cli("rules", "import", EXAMPLE, "--publish", "--note", "first") == 0, cli.err
    assert f"{ID}: live, version 1" in cli.out
    assert cli("rules", "list") == 0
    assert cli.out.splitlines()[1].split()[:3] == ["two-failed-payments", "live", "1"]
    assert cli("rules", "show", ID) == 0
    assert "7 days" in cli.out


def test_lint_says_what_is_odd_about_the_rules_in_force(cli: Cli, tmp_path: Path) -> None:
    cli("rules", "import", EXAMPLE, "--publish")
    assert cli("rules", "lint") == 0
    assert "Nothing is odd" in cli.out
    never = json.loads(EXAMPLE.read_bytes())
    never["id"] = "never"
    amount = {"field": "data.object.amount_remaining", "is": "less than", "value": -5}
    never["only_if"] = {"all": [*never["only_if"]["all"], amount]}
    (tmp_path / "never.json").write_text(json.dumps(never))
    cli("rules", "import", tmp_path / "never.json", "--publish")
    assert cli("rules", "lint") == 0
    assert "never: only_if.all[" in cli.out
    assert "can never fire" in cli.out
    (finding,) = [one for one in cli.json("rules", "lint") if one["kind"] == "never fires"]
    assert finding["witness"][0]["type"] == "invoice.payment_failed"


def test_the_examples_of_rules_are_run_and_a_broken_one_ends_with_2(cli: Cli, tmp_path: Path) -> None:
    document = json.loads(EXAMPLE.read_bytes())
    document["examples"] = [{"given": ["invoice.payment_failed P-6D", "invoice.payment_failed"], "then": "fires"}]
    (tmp_path / "rule.json").write_text(json.dumps(document))
    assert cli("rules", "test") == 0
    assert cli("rules", "import", tmp_path / "rule.json", "--publish") == 0, cli.err
    assert cli("rules", "test") == 0
    assert "holds  1. It should fire. It fires: An invoice payment fails for the 2nd time" in cli.out
    document["examples"][0]["given"][0] = "invoice.payment_failed P-8D"
    (tmp_path / "rule.json").write_text(json.dumps(document))
    assert cli("rules", "test", "--file", tmp_path / "rule.json") == 2
    assert "BROKEN 1. It should fire. It does not fire: 1 of 2 within 7 days" in cli.out
    assert cli("rules", "import", tmp_path / "rule.json", "--publish") == 2
    assert "examples[0]" in cli.err


def test_a_starter_is_printed_with_the_values_that_are_given_and_can_be_imported(cli: Cli, tmp_path: Path) -> None:
    assert cli("starters") == 0
    assert "invoice-overdue: A large invoice is overdue" in cli.out
    assert "  amount=100000  From this amount" in cli.out
    assert cli("starters", "invoice-overdue", "--set", "amount=250000", "--set", "wait=PT36H") == 0
    document = json.loads(cli.out)
    assert document["only_if"]["all"][1]["value"] == 250000
    assert document["steps"][2]["wait"] == {"for": "PT36H"}
    (tmp_path / "rule.json").write_text(cli.out)
    assert cli("rules", "import", tmp_path / "rule.json", "--publish") == 0, cli.err
    assert cli("rules", "test", "invoice-overdue") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "There is no starter 'nothing'"),
        (("invoice-overdue", "--set", "amount"), "write NAME=VALUE"),
        (("invoice-overdue", "--set", "amount=lots"), "From this amount is an amount in minor units"),
        (("invoice-overdue", "--set", "amont=5"), "no parameter 'amont' (perhaps amount)"),
    ],
)
def test_what_no_starter_can_take_is_refused(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    assert cli("starters", *arguments) == 2
    assert said in cli.err


def test_export_gives_back_the_document_that_was_imported(cli: Cli, tmp_path: Path) -> None:
    cli("rules", "import", EXAMPLE)
    assert cli("rules", "export", ID) == 0
    assert json.loads(cli.out) == json.loads(EXAMPLE.read_bytes())
    assert cli("rules", "export", "--to", tmp_path / "rules") == 0
    assert json.loads((tmp_path / "rules" / f"{ID}.json").read_bytes()) == json.loads(EXAMPLE.read_bytes())


def test_what_was_exported_can_be_imported_elsewhere(cli: Cli, tmp_path: Path) -> None:
    cli("rules", "import", EXAMPLE)
    cli("rules", "export")
    (tmp_path / "all.json").write_text(cli.out)
    assert cli("rules", "import", tmp_path / "all.json") == 0
    assert ID in cli.out


def test_check_names_every_problem_with_its_place_and_keeps_nothing(cli: Cli, tmp_path: Path) -> None:
    document = json.loads(EXAMPLE.read_bytes())
    document["only_if"]["all"][0]["field"] = "data.object.amount_remainin"
    document["steps"][0]["do"] = "stripe.change_plam"
    (tmp_path / "bad.json").write_text(json.dumps(document))
    assert cli("rules", "check", tmp_path / "bad.json") == 2
    assert "only_if.all[0].field" in cli.out
    assert "stripe.change_plan" in cli.out
    assert cli.json("rules", "list") == []


def test_a_draft_with_errors_is_kept_and_not_published(cli: Cli, tmp_path: Path) -> None:
    document = {**json.loads(EXAMPLE.read_bytes()), "steps": []}
    (tmp_path / "bad.json").write_text(json.dumps(document))
    assert cli("rules", "import", tmp_path / "bad.json", "--publish") == 2
    assert "steps" in cli.err
    assert cli.json("rules", "list")[0]["state"] == "off"


def test_pause_resume_archive_and_rollback_say_the_new_state(cli: Cli, tmp_path: Path) -> None:
    cli("rules", "import", EXAMPLE, "--publish")
    changed = {**json.loads(EXAMPLE.read_bytes()), "name": "Another name"}
    (tmp_path / "second.json").write_text(json.dumps(changed))
    cli("rules", "import", tmp_path / "second.json", "--publish")
    assert cli("rules", "rollback", ID, "1") == 0
    assert cli.out == f"{ID}: live, version 1\n"
    for verb, state in (("pause", "paused"), ("resume", "live"), ("archive", "archived")):
        assert cli("rules", verb, ID) == 0
        assert cli.out == f"{ID}: {state}, version 1\n"


def test_watching_is_said_when_publishing(cli: Cli) -> None:
    cli("rules", "import", EXAMPLE)
    assert cli("rules", "publish", ID, "--watch") == 0
    assert cli.out == f"{ID}: watch, version 1\n"


def test_a_plan_is_made_shown_and_withdrawn(cli: Cli) -> None:
    cli("rules", "import", EXAMPLE)
    assert cli("rules", "plan", ID) == 2
    assert cli("rules", "publish", ID, "--phases", "10,50,100", "--every", "12h") == 0, cli.err
    first, *phases = cli.out.splitlines()
    assert first == f"{ID}: the plan of command line is waiting"
    assert [phase.partition(", for ")[2] for phase in phases] == [
        "10 % of subscriptions: done, version 1", "50 % of subscriptions", "all subscriptions",
    ]  # fmt: skip
    assert cli.json("rules", "plan", ID)["state"] == "waiting"
    assert cli("rules", "publish", ID, "--at", "soon") == 2
    assert cli("rules", "withdraw", ID, "--note", "not now") == 0
    assert cli.out.splitlines()[0].endswith("is withdrawn: not now")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rules", "show", "nothing"), "There is no rule 'nothing'."),
        (("rules", "publish", "nothing"), "There is no rule 'nothing'."),
        (("rules", "import", "no-such-file.json"), "no-such-file.json"),
        (("import-events", "no-such-file.jsonl"), "There is no file no-such-file.jsonl."),
        (("fetch",), "No Stripe key is set"),
        (("trace", "in_nothing"), "in_nothing"),
        (("demo",), "No server answers at http://127.0.0.1:9: start it with `make run`"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    assert cli(*arguments) == 2
    assert cli.out == ""
    assert cli.err.count("\n") == 1
    assert cli.err.startswith("signalbox: ")
    assert words in cli.err


def test_a_file_that_is_no_json_is_named_with_the_place(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"id": ')
    assert cli("rules", "import", tmp_path / "bad.json") == 2
    assert "bad.json is no JSON" in cli.err
    assert "line 1" in cli.err


# ---- events ---------------------------------------------------------------------------------------------------------
def test_events_of_a_file_are_loaded_as_history_and_bad_lines_are_reported(cli: Cli, tmp_path: Path) -> None:
    lines = [json.dumps(envelope("evt_1")), "no event", json.dumps(envelope("evt_2"))]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    found = cli.json("import-events", tmp_path / "events.jsonl")
    assert (found["events"], found["refused_count"], found["refused"][0]["line"]) == (2, 1, 2)


def test_a_file_without_any_event_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("nothing\n")
    assert cli("import-events", tmp_path / "events.jsonl") == 2
    assert "line 1" in cli.out


def test_the_trace_of_an_imported_event_is_found_by_its_id(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(json.dumps(json.loads(body_of(envelope("evt_1")))).encode())
    cli("import-events", tmp_path / "events.jsonl")
    assert cli("tick") == 0
    assert cli("trace", "evt_1") == 0
    assert "transaction in_1" in cli.out
    assert cli("rules", "list", "--tenant", "default/live") == 2
    assert TENANT in cli.err


# ---- what if, and why -----------------------------------------------------------------------------------------------
def failures(tmp_path: Path) -> Path:
    """A file: one subscription fails twice in three days, another once."""
    lines = [
        envelope("evt_1", object=invoice("in_1", subscription="sub_1"), time=NOON - 33 * DAY),
        envelope("evt_2", object=invoice("in_1", subscription="sub_1"), time=NOON - 30 * DAY),
        envelope("evt_3", object=invoice("in_2", subscription="sub_2"), time=NOON - 30 * DAY),
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_a_backtest_of_a_file_tells_what_would_have_run(cli: Cli, tmp_path: Path) -> None:
    cli("import-events", failures(tmp_path))
    cli("tick")
    assert cli("backtest", EXAMPLE) == 0, cli.err
    assert "1 run for 1 subject, $49.00" in cli.out
    assert "sub_1" in cli.out
    assert "paid anyway" not in cli.out
    assert "cannot know whether an e-mail would have made a customer pay" in cli.out
    assert cli.json("backtest", EXAMPLE, "--since", "2026-11-01")["summary"]["runs"] == 0
    assert cli("backtest", EXAMPLE, "--against", "live", "--together") == 0, cli.err
    assert "enter: 1 customer, $49.00" in cli.out
    assert cli("backtest", EXAMPLE, EXAMPLE) == 2
    assert "is there twice" in cli.err


def test_an_explanation_says_why_and_why_not(cli: Cli, tmp_path: Path) -> None:
    cli("import-events", failures(tmp_path))
    cli("tick")
    assert cli("explain", EXAMPLE, "sub_2") == 0, cli.err
    assert cli.out.startswith("It did not fire (window).")
    assert "amount remaining" in cli.out
    assert cli.json("explain", EXAMPLE, "evt_3")["gate"] == "window"


def test_a_rule_and_a_time_that_are_not_there_are_named(cli: Cli) -> None:
    assert cli("explain", "nothing", "sub_1") == 2
    assert cli.err == "signalbox: There is no rule 'nothing'.\n"
    assert cli("backtest", EXAMPLE, "--since", "yesterday") == 2
    assert "'yesterday' is no time" in cli.err


# ---- the installation -----------------------------------------------------------------------------------------------
def test_the_token_is_printed_for_scripts(cli: Cli) -> None:
    assert cli("token") == 0
    assert cli.out == "t0ken\n"


def test_the_doctor_names_what_is_wrong_and_the_mend(cli: Cli, tmp_path: Path) -> None:
    cli("rules", "list")
    (tmp_path / "data" / "keys.json").chmod(0o644)
    assert cli("doctor", "--offline") == 1
    assert "WRONG  keys" in cli.out
    assert f"chmod 600 {tmp_path / 'data' / 'keys.json'}" in cli.out
    (tmp_path / "data" / "keys.json").chmod(0o600)
    assert cli("doctor", "--offline") == 0
    assert "Nothing is wrong." in cli.out


def test_the_doctor_looks_at_a_folder_that_cannot_be_opened(cli: Cli, tmp_path: Path) -> None:
    cli("rules", "list")
    (tmp_path / "data" / "keys.json").write_text("{}")
    assert cli("doctor", "--offline") == 1
    assert "WRONG  data: It cannot be opened" in cli.out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("rules",),
        ("rules", "import"),
        ("import-events",),
        ("import",),
        ("replay",),
        ("dead-letters",),
        ("discard",),
        ("trace",),
        ("demo",),
        ("backtest",),
        ("explain",),
    ],
)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.parser().parse_args([*words, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 100


# ---- what gave up ---------------------------------------------------------------------------------------------------
def test_dead_letters_are_listed_by_cause_and_let_go_by_id_with_a_reason(cli: Cli, tmp_path: Path) -> None:
    s = build(Settings(data=tmp_path / "data", matcher="python"), "test")
    trigger = keep_event(s.store, event("evt_1"))
    mine = keep_run(s.store, replace(run(trigger), id="run_1", state="done"))
    outcome = {"kind": "dead", "message": "Stripe: No such price: 'price_1'", "at": iso(NOON)}
    keep_command(s.store, replace(command(mine), state="dead", due_at=None, outcome=outcome))
    s.close()
    assert cli("dead-letters", "--tenant", TENANT) == 0
    assert "Stripe: No such price: '…'" in cli.out
    assert cli("discard", "run_1/downgrade", "--why", "told by phone", "--tenant", TENANT) == 0
    assert "0 events and 1 actions were let go" in cli.out
    assert cli("dead-letters", "--tenant", TENANT) == 0
    assert "nothing gave up" in cli.out
