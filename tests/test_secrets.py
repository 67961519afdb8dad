"""No secret is in the repository: what services hand out has a form of its own, and nothing of that form is here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector

ROOT = Path(__file__).parents[1]
# every detector of a form; those of mere randomness, of a word such as `password`, or of an address find examples only
LOOSE = ("IPPublicDetector", "KeywordDetector", "BasicAuthDetector", "JwtTokenDetector", "CloudantDetector")
OURS = re.compile(r"\b(?:sk|rk)_live_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9]{32}\b|\bAIza[\w-]{35}\b|\bya29\.[\w-]{20,}"
                  r"|hooks\.slack\.com/services/T[A-Z0-9]{8,}|\bsbx_[a-z0-9]+_[\w-]{30,}")  # fmt: skip
MADE_UP = re.compile(r"made_up|made-up|example|EXAMPLE|services/T0/B0")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


def patterns() -> list[re.Pattern[str]]:
    detectors = get_mapping_from_secret_type_to_class().values()
    forms = [one for one in detectors if issubclass(one, RegexBasedDetector) and one.__name__ not in LOOSE]
    assert len(forms) > 15
    return [OURS, *(pattern for one in forms for pattern in one.denylist)]


def found_in(text: str, known: list[re.Pattern[str]]) -> list[str]:
    hits = [hit for pattern in known for hit in pattern.finditer(text)]
    lines = [text[text.rfind("\n", 0, hit.start()) + 1 : hit.end()] for hit in hits]
    return [line.strip()[:100] for line in lines if not MADE_UP.search(line)]


def test_no_secret_is_in_the_repository() -> None:
    bad: list[str] = []
    known = patterns()
    for path in tracked():
        if path.is_file() and path.suffix not in (".gz", ".xz", ".png", ".jpg"):
            bad += [f"{path.relative_to(ROOT)}: {line}" for line in found_in(path.read_text(errors="replace"), known)]
    assert bad == []


@pytest.mark.parametrize(
    "line",
    [
        "key = 'sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc'",
        "STRIPE_WEBHOOK_SECRET=whsec_" + "a1B2" * 8,
        "aws = 'AKIA" + "IOSFODNN7ABCDEFG'",
        "url = 'https://hooks.slack.com/services/T" + "12345678/B12345678/abcdefghijklmnopqrstuvwx'",
        "ghp_" + "a" * 36,
        "-----BEGIN RSA " + "PRIVATE KEY-----",
    ],
)
def test_a_secret_would_be_found(line: str) -> None:
    assert found_in(line, patterns())


def test_what_holds_secrets_is_never_tracked() -> None:
    names = {path.name for path in tracked()}
    assert not names & {".env", "keys.json", "credentials.json", "service-account.json"}
    assert [path for path in tracked() if path.suffix in (".pem", ".p12", ".key", ".db")] == []
