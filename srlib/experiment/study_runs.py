"""The files that runs leave, read back as tables: what `srlib.experiment.study` is made of.

Nothing here writes: a run may be in the making while it is read. One run's row, as `row` gives it:

    status="done", model="embedded", base="b179c9523d0e6a0f", aligned="76924d2c2f9d78e1", seed=0, …
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from .. import params, store
from ..errors import UserError

FILES = {  # what is read of a run, and the columns that it must have
    "metrics.csv": ("arm", "data", "metric", "value", "n", "low", "high"),
    "claims.csv": (
        "claim", "measure", "effect", "low", "high", "n", "trainings", "p", "p_holm", "level",
        "verdict", "why", "note", "se", "df",
    ),
}  # fmt: skip
HOW = ["new_tokens", "temperature", "sample_seed"]  # how an arm was asked


def notebooks() -> set[str]:
    """Return the names of the project's notebooks."""
    return {path.stem for path in (params.root() / "notebooks").glob("[0-9]*.ipynb")}


def record_of(folder: Path) -> tuple[dict, str]:
    """Return a run's record, and why it cannot be used: "" where it can."""
    if not (folder / "run.json").exists():
        return {}, "not run"
    record = store.read_json(folder / "run.json")
    if not isinstance(record.get("parameters"), dict):
        return {}, "run.json cannot be read: run it again"
    if record.get("status") != "done":
        return {}, f"not finished (status {record.get('status')}): run it again"
    if not (folder / "metrics.csv").exists():
        return {}, "metrics.csv is not there: run it again"
    for name, columns in FILES.items():
        if (folder / name).exists() and not _whole(folder / name, columns):
            return {}, f"{name} is torn: run it again"
    return record, ""


def _whole(path: Path, columns: Sequence[str]) -> bool:
    """Return whether a table has its columns, and as many cells in each row."""
    try:
        text = path.read_text("utf-8")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return False
    return (
        text.endswith("\n")
        and set(columns) <= set(rows[0])
        and all(len(row) == len(rows[0]) for row in rows)
    )


def row(record: dict, folder: Path) -> dict:
    """Return what `Study.runs` says of a run. record: its run.json; folder: where that lies."""
    parameters, aligned = record["parameters"], record.get("aligned") or {}
    tuned = store.read_json(folder.parent / "arms" / str(aligned.get("folder")) / "run.json")
    base = record.get("base") or tuned.get("base") or {}
    files = [folder / name for name in ("run.json", *FILES)]
    free = ("profile", "outputs", "reveal")  # where it lies and what it shows, not what it finds
    return {
        **{k: record.get(k) for k in ("status", "started", "seconds", "commit", "peak_gib")},
        "spent": record.get("spent") or {},
        "model": parameters.get("completions") or parameters.get("model", ""),
        "base": base.get("fingerprint", ""),
        "aligned": aligned.get("fingerprint", ""),
        "dtype": aligned.get("dtype") or base.get("dtype", ""),
        "seed": parameters.get("seed"),
        "versions": ", ".join(
            f"{k} {v}" for k, v in sorted((record.get("versions") or {}).items())
        ),
        "reveal": bool(parameters.get("reveal")),
        "asked": store.digest({k: v for k, v in parameters.items() if k not in free}),
        "digest": store.digest([store.file_digest(f) for f in files if f.exists()]),
    }


def together(folders: dict[str, Path], runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one kind of table of all runs, with the run's profile, notebook and model first."""
    tables = [pd.DataFrame(columns=["profile", "notebook", "model", *FILES.get(name, ())])]
    for run in runs.itertuples():
        path = folders[run.profile] / run.notebook / name
        if path.exists():
            labels = {"profile": run.profile, "notebook": run.notebook, "model": run.model}
            saved = pd.read_csv(path, keep_default_na=False, na_values=[""])
            own = saved.drop(columns=[*labels], errors="ignore")
            tables.append(pd.concat([pd.DataFrame(labels, index=saved.index), own], axis=1))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or tables, ignore_index=True)


def with_making(metrics: pd.DataFrame, folders: dict[str, Path]) -> pd.DataFrame:
    """Return the metrics with what made each arm, and how it was asked."""
    tables = []
    for (profile, notebook), rows in metrics.groupby(["profile", "notebook"], sort=False):
        record = store.read_json(folders[profile] / notebook / "run.json")
        parameters = record["parameters"]
        room = parameters.get("long_new_tokens") or parameters.get("max_new_tokens")
        asked_with = dict(
            zip(HOW, (room, parameters.get("temperature"), parameters.get("seed")), strict=True)
        )
        tables.append(rows.assign(made=[_made(record, arm) for arm in rows["arm"]], **asked_with))
    return pd.concat(tables) if tables else metrics.assign(**dict.fromkeys(["made", *HOW]))


def _made(record: dict, arm: str) -> str:
    """Return what made an arm: an adapter's folder, the model's fingerprint, either with a prompt
    style; "direct" (notebook 01) is the plain prompt."""
    parameters = record["parameters"]
    if parameters.get("completions"):
        return f"{parameters['completions']} {arm}"
    base, aligned = record.get("base") or {}, record.get("aligned") or {}
    start = aligned.get("folder") or base.get("fingerprint", "")
    if folder := (record.get("arms") or {}).get(arm, {}).get("folder"):
        return folder
    if arm == "as it comes":
        return base.get("fingerprint", arm)
    return start if arm in ("direct", aligned.get("name") or base.get("name")) else f"{start} {arm}"


def asked(runs: Iterable[Path]) -> dict[str, set[str]]:
    """Return the records that runs asked for: file (below the profile's folder) -> keys."""
    keys_by_file: dict[str, set[str]] = {}
    for run in runs:
        for file, keys in store.read_json(run / "asked.json").items():
            keys_by_file.setdefault(file, set()).update(keys)
    return keys_by_file


def completions(path: Path, texts: bool) -> Iterator[dict]:
    """Yield a file's completions, without their texts unless asked (see `Study.completions`)."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):  # torn, or being written
                return
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number} is not JSON: delete that line") from error
            fields = ("key", "id", "data", "new_tokens", "finish", *(["text"] if texts else []))
            model = record.get("model", {}).get("name", "")
            yield {"file": path.stem, "model": model} | {k: record.get(k) for k in fields}
