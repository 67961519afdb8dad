"""The rules of the house, run as tests: import direction, types, lint, no mocks, pinned packages, LICENSE."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CODE = [ROOT / "main.py", *ROOT.glob("app/**/*.py"), *ROOT.glob("rules/**/*.py")]
TESTS = list(ROOT.glob("tests/**/*.py"))
TOP = {
    "main.py", "app", "rules", "templates", "static", "tests", "app.yaml", "requirements.txt", "README.md", "LICENSE",
    "CHANGELOG.md", "SECURITY.md", "Makefile", "Dockerfile", "deploy", "bench", "docs",
}  # fmt: skip


def check(*command: str | Path) -> None:
    found = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{command[0]}:\n{found.stdout[-6000:]}{found.stderr[-2000:]}"


def test_imports_go_one_way() -> None:
    check(BIN / "lint-imports", "--config", ".importlinter", "--no-cache")


def test_nothing_imports_the_main_module() -> None:
    assert [path.name for path in CODE if "main" in _imported(path)] == []


def test_types_are_strict_and_whole() -> None:
    check(BIN / "mypy")


def test_lint_and_format_are_clean() -> None:
    check(BIN / "ruff", "check", ".")
    check(BIN / "ruff", "format", "--check", ".")


@pytest.mark.parametrize("module", ["time", "os", "datetime.now", "random", "uuid", "socket"])
def test_rules_touch_no_clock_and_no_world(module: str) -> None:
    found = [f"{path.name}: {line}" for path in ROOT.glob("rules/**/*.py") for line in _uses(path, module)]
    assert found == []


def _uses(path: Path, module: str) -> list[str]:
    tree = ast.parse(path.read_text())
    if "." in module:
        name = module.split(".")[0]
        calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
        return [call for call in calls if call in (module, f"{name}.utcnow", "datetime.today", "date.today")]
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return [ast.unparse(n) for n in imports if module in (getattr(n, "module", None), *(a.name for a in n.names))]


def test_no_test_patches_or_sleeps() -> None:
    telling = re.compile(r"\bmonkeypatch\b|\bmock\b|time\.sleep\(")
    found = [f"{path.relative_to(ROOT)}:{number}" for path in TESTS if path.name != "test_house.py"
             for number, line in enumerate(path.read_text().splitlines(), 1) if telling.search(line)]  # fmt: skip
    assert found == []


def test_every_module_opens_with_its_job() -> None:
    silent = [str(path.relative_to(ROOT)) for path in CODE if path.stat().st_size and not _docstring(path)]
    assert silent == []


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text()))


def test_nothing_is_left_to_do() -> None:
    telling = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|lorem ipsum", re.IGNORECASE)
    places = [*CODE, *ROOT.glob("templates/**/*.html"), ROOT / "README.md"]
    assert [str(path.relative_to(ROOT)) for path in places if telling.search(path.read_text())] == []


def test_the_top_level_stays_as_ordered() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {line.split("/")[0] for line in tracked.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP


# ---- packages -------------------------------------------------------------------------------------------------------
def pins(path: Path) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


def test_requirements_are_the_whole_closure_pinned_as_installed() -> None:
    pinned = pins(ROOT / "requirements.txt")
    differing, unpinned = [], set()
    for name, version in pinned.items():
        if name == "durable-rules" and not _is_installed(name):
            continue
        differing += [name] if distribution(name).version != version else []
        needed = [Requirement(text) for text in distribution(name).requires or ()]
        unpinned |= {canonicalize_name(r.name) for r in needed if not r.marker or r.marker.evaluate({"extra": ""})}
    assert differing == []
    assert unpinned - set(pinned) == set()


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except ModuleNotFoundError:
        return False
    return True


def test_everything_that_the_product_imports_is_pinned() -> None:
    modules = {
        "flask", "flask_htmx", "werkzeug", "jinja2", "markupsafe", "granian", "stripe", "orjson", "cryptography", "re2",
        "durable_rules_engine", "jsonschema_rs", "opentelemetry", "google", "requests",
        "authlib", "joserfc", "argon2",
    }  # fmt: skip
    outside = {name for path in CODE for name in _imported(path)} - set(sys.stdlib_module_names)
    assert outside - {"app", "rules", "main"} <= modules


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_it_is_mit() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


# ---- start-up -------------------------------------------------------------------------------------------------------
HEAVY = ("google.cloud", "grpc", "opentelemetry.sdk", "opentelemetry.exporter", "stripe", "jsonschema_rs")


@pytest.mark.parametrize("module", ["app.web.webhooks", "app.worker", "app.services", "main"])
def test_what_is_used_only_sometimes_is_not_imported_at_start(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert found.stdout.split() == []
