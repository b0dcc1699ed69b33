"""Notebooks through papermill, one after the other, and their main results as text.

Each notebook runs in a kernel of its own and leaves `outputs/<profile>/<notebook>/`: the executed
notebook, parameters.yaml (all of them, resolved), metrics.csv, figures/, run.json. A run that is
done already, with the same parameters, the same notebook, package and libraries, and the same bytes
in every file that it reads, is not done again (`provenance.made_by`).

    notebooks([params.load("params/quick/01_cot_prompting.yaml")])
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import params, store
from ..errors import UserError
from ..experiment import provenance
from ..params import output_folder

if TYPE_CHECKING:
    import pandas as pd

# glibc gives large blocks back to the system after every use and asks for them again at the next
# step; keeping them makes fine-tuning on a CPU about a quarter faster.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30),
    "MALLOC_TOP_PAD_": str(2**28),
}


def notebooks(files: list[params.ParamFile], force: bool = False) -> None:
    """Run what is not made yet (with `force` everything), print the main results, write the site.

    Raises UserError where a notebook fails; those before it are kept."""
    began = time.time()
    for number, file in enumerate(files, start=1):
        title = f"[{number}/{len(files)}] {file.notebook.stem}"
        if not force and is_made(file):
            print(f"{title}: made already")
            continue
        if changed := _changed(file):
            print(f"{title}: run anew, as {', '.join(changed)} changed since its last run")
        left = sum(f.header.minutes for f in files[number - 1 :])
        _execute(file, title, began, left)
    report(files)
    try:
        sites(files)
    except Exception as error:  # the runs are done, whatever became of their report
        print(f"warning: no report was written: {' '.join(str(error).split())}", file=sys.stderr)
    print(f"\n{len(files)} notebooks in {_clock(time.time() - began)}")


def folder_of(file: params.ParamFile) -> Path:
    """Return the folder where a parameter file's run leaves its results."""
    return output_folder(file.values) / file.values["profile"] / file.notebook.stem


def is_made(file: params.ParamFile) -> bool:
    """Return whether the run is done, its files are still there, and all that made it is unchanged:
    see `provenance.made_by`; for notebook 06 that includes the runs it reads."""
    return _is_done(file) and not _changed(file)


def _is_done(file: params.ParamFile) -> bool:
    folder = folder_of(file)
    return (
        store.read_json(folder / "run.json").get("status") == "done"
        and (folder / "metrics.csv").exists()
        and (folder / file.notebook.name).exists()
    )


def _changed(file: params.ParamFile) -> list[str]:
    """Name what changed since a run was finished; [] where nothing did, or no run is finished."""
    from ..experiment import study

    record = store.read_json(folder_of(file) / "run.json")
    if record.get("status") != "done":
        return []
    before, now = record.get("made_by"), provenance.made_by(file.notebook.stem, file.values)
    if not isinstance(before, dict):
        return ["the rule of what makes a run"]
    changed = [name for name in before | now if before.get(name) != now.get(name)]
    reads_changed = "reads" in record and record["reads"] != study.reads(file.values)
    return changed + (["the runs that it reads"] if reads_changed else [])


def _execute(file: params.ParamFile, title: str, began: float, minutes_left: float) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    folder = store.writable(folder_of(file))
    store.write(folder / "parameters.yaml", params.dump(file))
    with tempfile.TemporaryDirectory() as scratch:
        status = Path(scratch) / "status"
        status.touch()
        os.environ |= KEEP_MEMORY | {"SRLIB_STATUS": str(status), "TOKENIZERS_PARALLELISM": "false"}
        with _Progress(title, status, began, minutes_left) as shown:
            try:
                papermill.execute_notebook(
                    str(file.notebook), str(folder / file.notebook.name), parameters=file.values,
                    engine_name=_engine(shown), kernel_name="python3", progress_bar=False,
                    coalesce_streams=True, cwd=str(params.root() / "notebooks"),
                    config=Config(KernelManager={"transport": "ipc"}),
                )  # fmt: skip
            except PapermillExecutionError as error:
                notebook = folder / file.notebook.name
                raise UserError(
                    f"{file.notebook.name}, cell {error.cell_index}: {error.ename}: {error.evalue}"
                    f" (the notebook up to there: {notebook})"
                ) from error
    if not _is_done(file):
        raise UserError(
            f"{file.notebook.name} ended without finishing its run: see {folder / 'run.json'}"
        )
    print(f"{title}: done in {_clock(shown.seconds())}")


def _engine(shown: _Progress) -> str:
    """Register papermill's own engine, telling `shown` which cell it is at; return its name."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Told(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            start = nb_man.cell_start
            shown.cells = len(nb_man.nb.cells)

            def cell_start(cell, cell_index=None, **kwargs):
                shown.cell = (cell_index or 0) + 1
                return start(cell, cell_index, **kwargs)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("srlib", Told)
    return "srlib"


class _Progress:
    """A line on the terminal that says where a run is; one every half minute where it is a file."""

    def __init__(self, title: str, status: Path, began: float, minutes_left: float):
        self.title, self.status, self.cell, self.cells = title, status, 0, 0
        self.study_began, self.began, self.minutes_left = began, time.time(), minutes_left
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Progress:
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        self.thread.join()
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)

    def seconds(self) -> float:
        return time.time() - self.began

    def line(self) -> str:
        """Give `[2/2] 01_cot_prompting, cell 7 of 20, 1:23 elapsed, about 4 min left, few-shot`."""
        left = max(0.0, self.minutes_left - self.seconds() / 60)
        doing = self.status.read_text("utf-8", errors="replace").replace("\n", "\r").rstrip("\r ")
        doing = " ".join(doing.rpartition("\r")[2].split())
        parts = [
            f"{self.title}, cell {self.cell} of {self.cells}",
            f"{_clock(time.time() - self.study_began)} elapsed",
            f"about {left:.0f} min left" if left >= 1 else "nearly there",
            doing,
        ]
        return ", ".join(p for p in parts if p)

    def _watch(self) -> None:
        live = sys.stdout.isatty()
        while not self.stop.wait(1 if live else 30):
            text = self.line()
            if live:
                width = os.get_terminal_size().columns - 1
                print(f"\r\x1b[K{text[:width]}", end="", flush=True)
            else:
                print(text, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


MAIN = ("exact_match", "refusal_rate", "attack_success_rate", "over_refusal_rate")


def report(files: list[params.ParamFile]) -> None:
    import pandas as pd

    for file in files:
        folder = folder_of(file)
        if not (folder / "metrics.csv").exists():
            print(f"\n{file.notebook.stem}: not run yet")
            continue
        table = pd.read_csv(folder / "metrics.csv")
        print(f"\n{file.notebook.stem}")
        if "notebook" not in table:  # else the arms of others, told already
            print(_arms(table))
        if (folder / "claims.csv").exists():
            claims = pd.read_csv(folder / "claims.csv")
            for c in claims.itertuples():
                effect = f" ({c.effect:+.0%} [{c.low:+.0%}, {c.high:+.0%}], n={c.n})"
                effect = "" if pd.isna(c.effect) else effect
                why = "" if pd.isna(getattr(c, "why", None)) else f": {c.why}"
                print(f"{c.claim} {c.statement}: {c.verdict}{effect}{why}")
        print(f"pictures: {short(folder / 'figures')}")
        print(f"notebook: {short(folder / file.notebook.name)}")


def _arms(table: pd.DataFrame) -> str:
    """Return the main measures of a metrics table as text, a line an arm."""
    table = table[table["metric"].isin(MAIN)].drop_duplicates(["arm", "metric"])
    table["shown"] = [
        f"{v:.0%} [{low:.0%}, {high:.0%}]"
        for v, low, high in table[["value", "low", "high"]].itertuples(index=False)
    ]
    wide = table.pivot(index="arm", columns="metric", values="shown")
    wide = wide.reindex(index=table["arm"].unique(), columns=[m for m in MAIN if m in wide])
    counts = table.groupby("metric")["n"].max()
    wide.columns = [f"{m} (n={counts[m]})" for m in wide.columns]
    return wide.rename_axis(index=None).to_string()


def sites(files: list[params.ParamFile], reveal: bool = False) -> None:
    """Write the site of every profile among the files, and say where it is."""
    from . import site

    for base in dict.fromkeys(folder_of(file).parent for file in files):
        written = site.write(base, reveal)
        for name, why in written.left_out.items():
            print(f"\nnot in the report: {name}, {why}")
        print(f"\nreport: {short(written.index)}")


def short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
