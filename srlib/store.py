"""What is kept where: append, read back, resume, lock.

Everything a run makes lies under `outputs/<profile>/`:

    completions/<model>--<style>.jsonl   what was said, shared by all notebooks
    grades/<same name>.jsonl             what graders said of it
    arms/<name>-<digest>/                fine-tuned adapters
    served/<name>-<digest>/              the same, written for a server
    <notebook>/                          metrics.csv, figures/, run.json, asked.json, the notebook

What a thing is found again by is said in `srlib.base.kept`. Files of records are shared and only
grow: which of them a run asked for is noted in its asked.json, and tables of runs read only those.

Records are appended and flushed batch by batch, so a killed process loses at most the batch it was
in; a torn last line is dropped when the file is next opened. An example completion record:

    {"key": "9f2c…", "id": "h-004", "data": "harmful", "messages": […], "text": "I can't …",
     "prompt_tokens": 41, "new_tokens": 18, "finish": "stop", "settings": {…}, "model": {…}}
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .base import kept
from .base.kept import digest as digest
from .base.kept import file_digest as file_digest
from .errors import UserError


def slug(text: str) -> str:
    """Return `text` as a file name: letters, digits, dot, dash, underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_") or "_"


def plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value


def writable(folder: Path) -> Path:
    """Make `folder` if need be, return it. Raises UserError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to the output folder {folder}: {error.strerror}; "
            "set `outputs` to a folder you may write to, or free space there"
        ) from error
    return folder


@contextmanager
def lock(path: Path):
    """Hold `path` for this process; a second process waits, and says so once."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path.with_name(path.name + ".lock"))
    try:
        held.acquire(timeout=2)
    except Timeout:
        print(f"waiting for another process that is using {path.name} …", file=sys.stderr)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def read(path: Path) -> list[dict]:
    """Return all whole records of a JSONL file, [] without one; a torn last line is cut off.

    Raises UserError where a line other than the last is not JSON. Call it under `lock`.
    """
    if not path.exists():
        return []
    blob = path.read_bytes()
    whole = blob[: blob.rfind(b"\n") + 1]
    if len(whole) < len(blob):
        os.truncate(path, len(whole))
    records = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise UserError(
                f"{path}, line {number} is not JSON ({error}); delete that line, or the file, "
                "and run again"
            ) from error
    return records


def append(path: Path, records: list[dict]) -> None:
    """Append records to a JSONL file, flushed to the disk. Raises UserError on a full disk."""
    blob = "".join(json.dumps(r, ensure_ascii=False, sort_keys=True) + "\n" for r in records)
    with full_disk(path), path.open("ab") as handle:
        handle.write(blob.encode("utf-8", "backslashreplace"))  # half a surrogate pair, say
        handle.flush()
        os.fsync(handle.fileno())


def write(path: Path, text: str) -> None:
    """Write a whole file, so that a reader sees the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with full_disk(path):
        try:
            part.write_bytes(text.encode())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)  # half a file would keep a full disk full


def write_json(path: Path, value: Any) -> None:
    write(path, json.dumps(plain(value), indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def read_json(path: Path) -> dict:
    """Return the record in a JSON file; {} where there is none, or none that can be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def full_disk(path: Path):
    """Turn the error of a full disk while `path` is written into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk is full: {path} could not be written; free space and run again: "
            "what is already there is kept"
        ) from error


asked: dict[Path, dict[str, None]] = {}  # what this process's run asked for: file -> keys


def ask(path: Path, keys: Iterable[str]) -> None:
    """Note that the run asks for these records of a file, made now or found."""
    asked.setdefault(path.resolve(), {}).update(dict.fromkeys(keys))


def is_done(folder: Path) -> bool:
    """Return whether what `folder` holds was finished (its done-marker is written last)."""
    return (folder / "done").exists()


def mark_done(folder: Path) -> None:
    write(folder / "done", "done\n")


def peak_gib() -> float:
    """Return the most memory that this process has held so far, in GiB."""
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def give_back() -> None:
    """Return freed memory to the system, where libc keeps it (glibc; see `run.KEEP_MEMORY`)."""
    import ctypes
    import gc

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def versions() -> dict[str, str]:
    """Return Python's version and those of the packages that decide a result."""
    import platform

    return {"python": platform.python_version()} | kept.versions("srlib", *kept.RUNNING)


@cache
def commit() -> str:
    """Return the git commit, `+` where the tree has changes, `unknown` outside a checkout."""
    import subprocess

    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", *words]  # never in the way of a commit
        done = subprocess.run(command, cwd=here, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        return f"{head}+" if head and git("status", "--porcelain") else head or "unknown"
    except OSError:
        return "unknown"
