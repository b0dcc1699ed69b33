"""Notebooks through papermill, one after the other: the command line.

    python -m srlib run quick                       every notebook of a profile
    python -m srlib run params/quick/01_….yaml      one parameter file, one run
    python -m srlib check quick                     find what is wrong before hours are spent
    python -m srlib report quick                    the main results, and a site of them to show
    python -m srlib export outputs/quick/arms/*     fine-tuned arms for a server, see the README
    python -m srlib sweep params/sweeps/….yaml      notebooks × model × seed × any parameter
    python -m srlib mirror gpu --to DIR             published data, for a machine without network

Each notebook runs in a kernel of its own and leaves `outputs/<profile>/<notebook>/`: the executed
notebook, metrics.csv, figures/, run.json. A run that is done already, with the same parameters, the
same notebook and the same package, is not done again.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import params, store
from .errors import UserError

if TYPE_CHECKING:
    import pandas as pd

HELP = __doc__.replace("\n\n    ", "\n\n\b\n    ")  # \b: the commands stay a line each
# Plain help: rich takes half of the time until it is there.
app = typer.Typer(
    add_completion=False, help=HELP, pretty_exceptions_enable=False, rich_markup_mode=None
)
Targets = Annotated[list[str], typer.Argument(help="profiles, or parameter files (.yaml)")]

# glibc gives large blocks back to the system after every use and asks for them again at the next
# step; keeping them makes fine-tuning on a CPU about a quarter faster.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30),
    "MALLOC_TOP_PAD_": str(2**28),
}


@app.command()
def run(targets: Targets, force: bool = typer.Option(False, help="run what is done, too")) -> None:
    """Run every notebook of the profiles or parameter files named."""
    files = [file for file, _ in _checked(targets)]
    began = time.time()
    for number, file in enumerate(files, start=1):
        title = f"[{number}/{len(files)}] {file.notebook.stem}"
        if not force and is_made(file):
            print(f"{title}: made already")
            continue
        left = sum(f.header.minutes for f in files[number - 1 :])
        _execute(file, title, began, left)
    _report(files)
    try:
        _sites(files)
    except Exception as error:  # the runs are done, whatever became of their report
        print(f"warning: no report was written: {' '.join(str(error).split())}", file=sys.stderr)
    print(f"\n{len(files)} notebooks in {_clock(time.time() - began)}")


@app.command()
def check(
    targets: Targets,
    tflops: float = typer.Option(0.0, help="estimate for a device of so many TFLOP/s, not this"),
    bandwidth: float = typer.Option(0.0, help="its memory's GB/s"),
) -> None:
    """Check parameter files, models, data sets and folders, and estimate the cost; run nothing."""
    from . import estimate, machine, models
    from .evaluate import output_folder

    checked = _checked(targets)
    for file, _ in checked:
        print(f"{file.path.name}: fine ({file.header.hardware}; {_span(file.header.minutes)})")
    jobs = [estimate.Job(f.notebook.stem, f.values, rows) for f, rows in checked if rows]
    if not jobs:
        return
    first = jobs[0].values
    place = output_folder(first)
    here = machine.here(place, models.pick_dtype(first["dtype"]), tflops, bandwidth)
    rows, notes = estimate.table(jobs, place, here)
    print(f"\n{estimate.shown(rows, here)}", *notes, sep="\n")


def _span(minutes: float) -> str:
    return f"{minutes:g} minutes" if minutes < 120 else f"{minutes / 60:g} hours"


@app.command()
def report(
    targets: Targets,
    reveal: bool = typer.Option(False, "--reveal", help="show runs made with `reveal: true`, too"),
) -> None:
    """Print the main results of finished runs, and write them as a static site."""
    files = _files(targets)
    _report(files)
    _sites(files, reveal)


@app.command()
def export(
    arms: Annotated[list[Path], typer.Argument(help="folders of arms, outputs/<profile>/arms/…")],
    lora: bool = typer.Option(False, "--lora", help="one LoRA adapter each, not a whole model"),
) -> None:
    """Write fine-tuned arms for a server, each as one folder, and print their `served_as`."""
    from . import export as room

    folders = [arm for arm in arms if arm.is_dir()]  # a pattern also takes their lock files
    if not folders:
        raise UserError(f"{arms[0]} is no folder of an arm; they lie in outputs/<profile>/arms")
    print("served_as:")
    for arm in folders:
        print("  {}: {}".format(*room.write(arm, lora)), flush=True)
def sweep(
    file: Path,
    cluster: str = typer.Option("", help="slurm, kubernetes, or a folder with a Snakemake profile"),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be run"),
    show: bool = typer.Option(False, "--list", help="only say what is done, failed, waiting"),
) -> None:
    """Run a sweep file's jobs through Snakemake: what is missing or changed, and list them all."""
    from . import sweep as room

    planned = room.plan(file)
    status = 0 if show else room.start(planned, cluster, dry_run)
    for name, state, told in room.states(planned):
        print(f"{state:8} {name}{f': {told}' if told else ''}")
    print(f"logs: {_short(planned.folder / 'logs')}")
    if status:
        raise UserError("not all jobs are done; mend what failed and type the command again")


@app.command()
def mirror(
    targets: Annotated[list[str] | None, typer.Argument(help="profiles, or files")] = None,
    to: str = typer.Option("mirror", help="the folder to fill"),
    with_models: bool = typer.Option(False, "--models", help="the models that are named, too"),
    verify: str = typer.Option("", help="only check the checksums of this folder"),
) -> None:
    """Fetch the published data sets that parameter files name, for a machine without a network."""
    from . import mirror as room

    if verify:
        kept = room.verify(Path(verify))
        print(f"{room.shown(kept)}\nall {len(kept)} files are as they were")
        return
    if not targets:
        raise UserError("name a profile: python -m srlib mirror gpu --to DIR")
    asked = room.wanted((file.values for file in _files(targets)), with_models)
    kept, missing = room.write(asked, Path(to))
    print(room.shown(kept))
    for hub, why in missing.items():
        print(f"not there: {hub}: {why}", file=sys.stderr)
    if missing:
        raise UserError(f"{len(missing)} of {len(asked)} could not be had; the others are in {to}")
    print(f"check it where it is carried to: python -m srlib mirror --verify {to}")


def _files(targets: list[str]) -> list[params.ParamFile]:
    root = params.root()
    return [params.load(path) for t in targets for path in params.profile_files(t, root)]


def _checked(targets: list[str]) -> list[tuple[params.ParamFile, dict]]:
    """The files named, each with its evaluation rows by kind (notebook 06 has none)."""
    from . import evaluate, study

    found = []
    for file in _files(targets):
        try:
            rows = (evaluate if "model" in file.values else study).preflight(file.values)
        except UserError as error:
            raise UserError(f"{file.path}: {error}") from error
        found.append((file, rows or {}))
    return found


def folder_of(file: params.ParamFile) -> Path:
    """Where a parameter file's run leaves its results."""
    from .evaluate import output_folder

    return output_folder(file.values) / file.values["profile"] / file.notebook.stem


def is_made(file: params.ParamFile) -> bool:
    """Whether the run is done: by its run.json, with the same making, its files still there, and
    what it read (notebook 06: the other runs) still the same."""
    from . import study

    folder = folder_of(file)
    record = store.read_json(folder / "run.json")
    return (
        record.get("status") == "done"
        and record["made_by"] == store.made_by(file.notebook.stem, file.values)
        and ("reads" not in record or record["reads"] == study.reads(file.values))
        and (folder / "metrics.csv").exists()
        and (folder / file.notebook.name).exists()
    )


def _execute(file: params.ParamFile, title: str, began: float, minutes_left: float) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    folder = store.writable(folder_of(file))
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
                where = folder / file.notebook.name
                raise UserError(
                    f"{file.notebook.name}, cell {error.cell_index}: {error.ename}: {error.evalue}"
                    f" (the notebook up to there: {where})"
                ) from error
    if not is_made(file):
        raise UserError(
            f"{file.notebook.name} ended without finishing its run: see {folder / 'run.json'}"
        )
    print(f"{title}: done in {_clock(shown.seconds())}")


def _engine(shown: _Progress) -> str:
    """papermill's own engine, telling `shown` which cell it is at."""
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
        """`[2/2] 01_cot_prompting, cell 7 of 20, 1:23 elapsed, about 4 min left, few-shot …`"""
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


def _report(files: list[params.ParamFile]) -> None:
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
                effect = f"{c.effect:+.0%} [{c.low:+.0%}, {c.high:+.0%}], n={c.n}"
                effect = "" if c.verdict == "not measured" else f" ({effect})"
                print(f"{c.claim} {c.statement}: {c.verdict}{effect}")
        print(f"pictures: {_short(folder / 'figures')}")
        print(f"notebook: {_short(folder / file.notebook.name)}")


def _arms(table: pd.DataFrame) -> str:
    """The main measures of a metrics table as text, a line an arm."""
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


def _sites(files: list[params.ParamFile], reveal: bool = False) -> None:
    """Write the site of every profile among the files, and say where it is."""
    from . import site

    for base in dict.fromkeys(folder_of(file).parent for file in files):
        made = site.write(base, reveal)
        for name, why in made.left_out.items():
            print(f"\nnot in the report: {name}, {why}")
        print(f"\nreport: {_short(made.index)}")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> None:
    """The command line; a UserError is one line and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
