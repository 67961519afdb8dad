"""The image, as far as it can be judged without Docker: its stages read, and its commands run in a folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    base: str
    name: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.lines if name == instruction]


def stages() -> list[Stage]:
    """The Dockerfile by stage: (instruction, the rest of it)."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    found: list[Stage] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].lines.append((instruction, rest))
    return found


BUILD, FINAL = stages()


def test_there_is_a_stage_that_builds_and_one_that_runs_on_the_same_base() -> None:
    assert BUILD.name == "build"
    assert BUILD.base == FINAL.base == "${BASE}"
    base = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert re.fullmatch(r"python:3\.12-slim-\w+|python@sha256:[0-9a-f]{64}", base[1]), "a base that is named exactly"


def test_what_runs_has_no_tool_to_build_with_and_no_package_beside_the_environment() -> None:
    run = " ; ".join(FINAL.all("RUN"))
    assert not re.search(r"\b(apt-get|apk|gcc|make|curl|wget|git|pip install)\b", run)
    assert "pip uninstall" in run
    assert [line for line in FINAL.all("COPY") if "--from" in line] == ["--from=build /venv /venv"]
    assert any("venv --without-pip" in line for line in BUILD.all("RUN"))


def test_what_runs_is_nobodys_root_and_writes_nowhere_in_its_own_folder() -> None:
    assert FINAL.all("USER") == ["signalbox"]
    assert FINAL.lines.index(("USER", "signalbox")) > max(
        index for index, (name, _) in enumerate(FINAL.lines) if name in ("RUN", "COPY")
    )
    environment = " ".join(FINAL.all("ENV"))
    assert "SIGNALBOX_DATA=/tmp/" in environment
    assert "PYTHONDONTWRITEBYTECODE=1" in environment


def test_nothing_of_the_image_depends_on_when_it_was_built() -> None:
    for stage in (BUILD, FINAL):
        compiled = [line for line in stage.all("RUN") if "compileall" in line]
        assert compiled
        assert all("--invalidation-mode unchecked-hash" in line for line in compiled)
    (install,) = (line for line in BUILD.all("RUN") if " install --no-compile" in line)
    assert "--only-binary :all:" in install
    assert any("SOURCE_DATE_EPOCH" in line for line in BUILD.all("ENV"))
    pinned = [line.split()[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1].isalnum()]
    assert all("==" in line for line in pinned), "every package of the closure is pinned"


def test_the_image_has_what_runs_and_neither_tests_nor_data_nor_secrets() -> None:
    copied = {line.split()[0] for line in FINAL.all("COPY") if "--from" not in line}
    assert copied == {"main.py", "app", "rules", "templates", "static", "deploy"}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert allowed == copied | {"requirements.txt"}
    assert "**/__pycache__" in ignored


def test_the_files_that_are_deployed_start_commands_that_there_are() -> None:
    import yaml

    import main

    for file in ("app.yaml", "deploy/worker.yaml"):
        (container,) = yaml.safe_load((ROOT / file).read_text())["spec"]["template"]["spec"]["containers"]
        assert main.parser().parse_args(container["args"])
    assert FINAL.all("CMD") == ['["web"]']


@pytest.mark.nightly
def test_the_commands_of_the_image_give_an_environment_that_runs_twice_the_same(tmp_path: Path) -> None:
    """The RUN lines of both stages, in a folder in place of `/`, by a Python of the image's version where one is."""
    own = sorted((Path.home() / ".pyenv" / "versions").glob("3.12.*/bin/python"))
    python = str(own[-1]) if own else sys.executable
    copy = tmp_path / "signalbox"
    for name in ("main.py", "app", "rules", "templates", "static", "deploy"):
        source = ROOT / name
        plain = shutil.ignore_patterns("__pycache__")
        copy.mkdir(exist_ok=True)
        shutil.copytree(source, copy / name, ignore=plain) if source.is_dir() else shutil.copy(source, copy / name)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    tools = tmp_path / "tools"
    subprocess.run([python, "-m", "venv", str(tools)], check=True)
    environ = {**os.environ, "PATH": f"{tools / 'bin'}:{os.environ['PATH']}", "SOURCE_DATE_EPOCH": "0"}
    for line in BUILD.all("RUN"):
        if "apt-get" not in line:
            here = line.replace("/venv", str(tmp_path / "venv")).replace("/wheels", str(tmp_path / "wheels"))
            subprocess.run(here, shell=True, cwd=tmp_path, env=environ, check=True)
    compile_ = next(line for line in FINAL.all("RUN") if "compileall" in line)
    digests = []
    for _ in range(2):
        subprocess.run(compile_.replace("/venv", str(tmp_path / "venv")), shell=True, cwd=copy, check=True)
        digests.append(digest_of(copy))
        for file in copy.rglob("*.py"):
            os.utime(file, (1, 1))
    assert digests[0] == digests[1]
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "python"), "main.py", "doctor", "--offline"],
        cwd=copy,
        env={"PATH": os.environ["PATH"], "SIGNALBOX_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "DurableMatcher" in done.stdout
    assert not list((tmp_path / "venv").rglob("pip"))
    size = sum(file.stat().st_size for file in (tmp_path / "venv").rglob("*") if file.is_file())
    assert size < 350 * 1024**2, f"{size / 1024**2:.0f} MB"


def digest_of(folder: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.pyc")):
        found.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return found.hexdigest()
