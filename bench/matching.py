"""M3's rules and events, and our own side as workers: the two matchers, and the whole `decide` with its trace.

The answers that everybody must give are worked out here by the plainest loop.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from app import tenants as _tenants  # noqa: F401
from bench import events
from bench.peers.matching import Match, serve
from rules.decide import DocumentOf, Members, Memory, NotRead, Question, Read, RuleOf, RunOf, Window, decide, reads
from rules.event import Event, from_envelope
from rules.matcher import Matcher, PythonMatcher, choose_matcher
from rules.model import Rule, RuleVersion
from rules.ports import ABSENT
from rules.rule import parse
from rules.ruleset import build, documents, keyed
