"""What makes a run: its folder, its record, and digests of all that it is made from.

    made_by("01_cot_prompting", values)   ->  {"notebook": "5b…", "mine.jsonl": "77…", …}

A run that is done is found again only where all of it is the same (`srlib.base.kept` has the rule).
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import params, store
from ..base import kept
from ..base.kept import HERE, digest, file_digest, folder_digest
from ..data import sources
from ..params import place, root


class Run:
    """One notebook's run: its folder, its `run.json`, its `metrics.csv`.

    `status` in run.json is `running` until `finish` is called in the notebook's last cell: a killed
    kernel can leave a notebook file that looks finished, but never a run.json that says `done`.
    """

    def __init__(self, notebook: str, values: dict, outputs: Path):
        self.notebook, self.values = notebook, values
        self.base = store.writable(outputs / values["profile"])
        self.folder = store.writable(self.base / notebook)
        self.started = time.time()
        self.facts: dict[str, Any] = {}
        self.spent: dict[str, float] = {}  # seconds, by what they went to
        self.made_by = made_by(notebook, values)  # as it is now, whatever is edited meanwhile
        self.before = {path: path.stat().st_mtime_ns for path in self._tables()}
        store.asked.clear()
        self._write("running")

    def note(self, **facts: Any) -> None:
        """Add facts (a model's fingerprint, say) to run.json."""
        self.facts.update({key: store.plain(value) for key, value in facts.items()})
        self._write("running")

    @contextmanager
    def spending(self, on: str):
        """Count the time within as spent `on` this (loading, training, answering, grading); what is
        spent inside on something else counts as that alone."""
        others, began = sum(self.spent.values()), time.time()
        try:
            yield
        finally:
            inside = sum(self.spent.values()) - others
            self.spent[on] = self.spent.get(on, 0.0) + time.time() - began - inside

    def finish(self, metrics) -> None:
        """Write the tidy metrics table (a DataFrame) and what was asked for, remove the tables and
        figures that an earlier run left and this one did not write, and mark the run as done."""
        store.write(self.folder / "metrics.csv", metrics.to_csv(index=False, lineterminator="\n"))
        for path in self._tables():
            if self.before.get(path) == path.stat().st_mtime_ns:
                path.unlink()
        base = self.base.resolve()
        asked = {
            p.relative_to(base).as_posix(): [*k]
            for p, k in store.asked.items()
            if base in p.parents
        }
        store.write_json(self.folder / "asked.json", asked)
        self._write("done")

    def _tables(self) -> list[Path]:
        return [*self.folder.glob("*.csv"), *self.folder.glob("figures/*")]

    def _write(self, status: str) -> None:
        now = time.time()
        record = {
            "notebook": self.notebook,
            "status": status,
            "parameters": self.values,
            "made_by": self.made_by,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(now - self.started, 1),
            "spent": {on: round(seconds, 1) for on, seconds in self.spent.items()},
            "peak_gib": round(store.peak_gib(), 1),
            "versions": store.versions(),
            "commit": store.commit(),
            **self.facts,
        }
        store.write_json(self.folder / "run.json", record)


def made_by(notebook: str, values: dict) -> dict[str, str]:
    """Return digests of what makes a run: the notebook's cells, its parameters, this package (but
    not how the report's pages look), the libraries, and the content of every file that it reads."""
    cells = json.loads((root() / "notebooks" / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    source = ["".join(c["source"]) for c in cells]
    asks = re.search(r"\b(labelled|refusal_check|agreement\.load)\(", "".join(source))
    package = [f for f in sorted([*HERE.rglob("*.py"), *HERE.glob("assets/*")])
               if "site" not in f.stem]  # fmt: skip
    return {
        "the notebook": digest(source),
        "its parameters": digest(values),
        "this package": digest([file_digest(p) for p in package]),
        "the libraries": digest(kept.versions(*kept.RUNNING)),
        **({"the labelled sets": _labelled()} if asks else {}),
        **files(values),
    }


def _labelled() -> str:
    """Return a digest of the labelled completions that the local mirror holds."""
    from ..grading import agreement

    return digest(agreement.load().to_dict("records"))


def files(values: dict) -> dict[str, str]:
    """Return the content of what a notebook's parameters name: digests of files, of the folders of
    models and adapters, and of published sets and models in the local mirror."""
    from . import mirror

    asked = {k: v for k, v in values.items() if k not in ("outputs", "profile", "profiles")}
    digests = {text: identity for text in _texts(asked) if (identity := _content(text))}
    launch = params.root() / "params/accelerate" / f"{values.get('train_launch')}.yaml"
    digests |= {launch.name: file_digest(launch)} if launch.is_file() else {}
    if folder := sources.mirror():
        for one in mirror.wanted([values], with_models=True):
            if (folder / one.place).is_file():
                digests[one.place] = file_digest(folder / one.place)
            elif identity := sources.carried_model(one.hub):
                digests[one.place] = identity[1]
    return digests


def _content(text: str) -> str:
    """Return a digest of the file, or of the folder with a model or an adapter, that a text names;
    "" where it names none."""
    name = text.partition(" @ ")[0].strip()  # a model at a server's address
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # no name of a file at all
        path = place(name)
        if path.is_file():
            return file_digest(path)
        if name and any((path / config).is_file() for config in _CONFIGS):
            return folder_digest(path)
    return ""


_CONFIGS = ("config.json", "adapter_config.json")


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in nested lists and dicts of parameters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
