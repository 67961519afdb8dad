"""Signalbox: rules for revenue operations on Stripe events. This file reads the environment and runs one command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from app import cli, processes
from app.settings import Settings, SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        settings = processes.with_local_token(Settings.from_env(os.environ))
        return int(chosen.run(chosen, settings) or 0)
    except SettingsError as error:
        for problem in error.problems:
            print(f"signalbox: {problem}", file=sys.stderr)
        return processes.CANNOT_RUN
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    """Every command has `run`: a function of the parsed arguments and the settings that gives the exit code."""
    top = argparse.ArgumentParser(
        prog="main.py",
        description="Signalbox: rules for revenue operations on Stripe events.",
        epilog="Settings come from the environment; README.md lists them. `make run` is `main.py serve`.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    serve = commands.add_parser("serve", help="run everything on this machine: web, worker and timer")
    serve.add_argument("--one-process", action="store_true", help="web and worker as threads of one process")
    serve.set_defaults(run=processes.serve)
    web = commands.add_parser("web", help="receive webhooks and show the pages")
    web.add_argument("--with-worker", action="store_true", help="work in the same process as well")
    web.set_defaults(run=processes.web)
    work = commands.add_parser("work", help="handle events, perform actions, wake waiting runs, run jobs")
    work.set_defaults(run=processes.work)
    tick = commands.add_parser("tick", help="do once what is due, then end (for a scheduler, where no worker runs)")
    tick.set_defaults(run=processes.tick)
    cli.register(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
