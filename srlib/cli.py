"""The command line: notebooks run, checked and reported, and what carries them elsewhere.

    python -m srlib run quick                       every notebook of a profile
    python -m srlib run params/quick/01_….yaml      one parameter file, one run
    python -m srlib check quick                     find what is wrong before hours are spent
    python -m srlib params quick 02                 all parameters of a run, and where each is said
    python -m srlib report quick                    the main results, and a site of them to show
    python -m srlib export outputs/quick/arms/*     fine-tuned arms for a server
    python -m srlib sweep params/sweeps/….yaml      notebooks × model × seed × any parameter
    python -m srlib mirror gpu --to DIR             published data, for a machine without network

A command does little itself: it calls the room that does it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from . import params
from .base import layers
from .errors import UserError, meant
from .ops import run as room

HELP = __doc__.replace("\n\n    ", "\n\n\b\n    ")  # \b: the commands stay a line each
# Plain help: rich takes half of the time until it is there.
app = typer.Typer(
    add_completion=False, help=HELP, pretty_exceptions_enable=False, rich_markup_mode=None
)
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="another value, for all notebooks that have it"
    ),
]
Targets = Annotated[list[str], typer.Argument(help="profiles, or parameter files (.yaml)")]


@app.command()
def run(
    targets: Targets,
    force: bool = typer.Option(False, help="run what is done, too"),
    changes: Changes = None,
) -> None:
    """Run every notebook of the profiles or parameter files named."""
    room.notebooks([file for file, _ in _checked(targets, changes)], force)


@app.command()
def check(
    targets: Targets,
    tflops: float = typer.Option(0.0, help="estimate for a device of so many TFLOP/s, not this"),
    bandwidth: float = typer.Option(0.0, help="its memory's GB/s"),
    gpu: float = typer.Option(0.0, help="a GPU of so many GB, not what is here; with --tflops"),
    changes: Changes = None,
) -> None:
    """Check parameter files, models, data sets and folders, and estimate the cost; run nothing."""
    from .experiment import preflight
    from .models import loading
    from .ops import estimate, machine
    from .params import output_folder

    checked = _checked(targets, changes)
    for file, rows in checked:
        print(f"{file.path.name}: fine ({file.header.hardware}; {_span(file.header.minutes)})")
        for line in preflight.undecidable(file.notebook.stem, file.values, rows):
            print(f"  {line}")
    jobs = [estimate.Job(f.notebook.stem, f.values, rows) for f, rows in checked if rows]
    if not jobs:
        return
    first = jobs[0].values
    place = output_folder(first)
    here = machine.here(place, loading.pick_dtype(first["dtype"]), tflops, bandwidth, gpu)
    rows, notes = estimate.table(jobs, place, here)
    print(f"\n{estimate.shown(rows, here)}", *notes, sep="\n")


@app.command("params")
def show_params(
    profile: str,
    notebook: Annotated[str, typer.Argument(help="its number will do")] = "",
    changes: Changes = None,
) -> None:
    """Print the parameters of a profile's notebook, all of them, and which file gives each."""
    files = _files([profile], changes)
    if notebook:
        named = {file.notebook.stem: file for file in files}
        files = [file for stem, file in named.items() if stem.startswith(notebook)]
        if not files:
            raise UserError(f"{profile} runs no notebook {notebook!r}{meant(notebook, named)}")
    print(*map(params.dump, files), sep="\n", end="")


def _span(minutes: float) -> str:
    n, unit = (minutes, "minute") if minutes < 120 else (minutes / 60, "hour")
    return f"{n:g} {unit}{'' if n == 1 else 's'}"


@app.command()
def report(
    targets: Targets,
    reveal: bool = typer.Option(False, "--reveal", help="show runs made with `reveal: true`, too"),
) -> None:
    """Print the main results of finished runs, and write them as a static site."""
    files = _files(targets)
    room.report(files)
    room.sites(files, reveal)


@app.command()
def export(
    arms: Annotated[list[Path], typer.Argument(help="folders of arms, outputs/<profile>/arms/…")],
    lora: bool = typer.Option(False, "--lora", help="one LoRA adapter each, not a whole model"),
) -> None:
    """Write fine-tuned arms for a server, each as one folder, and print their `served_as`."""
    from .models import export as writer

    folders = [arm for arm in arms if arm.is_dir()]  # a pattern also takes their lock files
    if not folders:
        raise UserError(f"{arms[0]} is no folder of an arm; they lie in outputs/<profile>/arms")
    print("served_as:")
    for arm in folders:
        print("  {}: {}".format(*writer.write(arm, lora)), flush=True)


@app.command()
def sweep(
    file: Path,
    cluster: str = typer.Option("", help="slurm, kubernetes, or a folder with a Snakemake profile"),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be run"),
    show: bool = typer.Option(False, "--list", help="only say what is done, failed, waiting"),
) -> None:
    """Run a sweep file's jobs through Snakemake: what is missing or changed, and list them all."""
    from .ops import sweep as sweeps

    planned = sweeps.plan(file)
    status = 0 if show else sweeps.start(planned, cluster, dry_run)
    for name, state, message in sweeps.states(planned):
        print(f"{state:8} {name}{f': {message}' if message else ''}")
    print(f"logs: {room.short(planned.folder / 'logs')}")
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
    from .experiment import mirror as mirrors

    if verify:
        copies = mirrors.verify(Path(verify))
        print(f"{mirrors.shown(copies)}\nall {len(copies)} files are as they were")
        return
    if not targets:
        raise UserError("name a profile: python -m srlib mirror gpu --to DIR")
    asked = mirrors.wanted((file.values for file in _files(targets)), with_models)
    copies, missing = mirrors.write(asked, Path(to))
    print(mirrors.shown(copies))
    for hub, why in missing.items():
        print(f"not there: {hub}: {why}", file=sys.stderr)
    if missing:
        raise UserError(f"{len(missing)} of {len(asked)} could not be had; the others are in {to}")
    print(f"check it where it is carried to: python -m srlib mirror --verify {to}")


def _files(targets: list[str], changes: list[str] | None = None) -> list[params.ParamFile]:
    root, overrides = params.root(), _told(changes or [])
    paths = [path for target in targets for path in params.profile_files(target, root)]
    return [params.load(path, changes=overrides) for path in paths]


def _told(changes: list[str]) -> dict:
    """Parse what `--set` says: names and values, read as in a parameter file."""
    if bad := [change for change in changes if "=" not in change]:
        raise UserError(f"--set {bad[0]}: give name=value")
    pairs = [change.partition("=") for change in changes]
    return {name.strip(): layers.value(text, f"--set {name}") for name, _, text in pairs}


def _checked(
    targets: list[str], changes: list[str] | None = None
) -> list[tuple[params.ParamFile, dict]]:
    """Check the files named; return each with its evaluation rows by kind (notebook 06: none)."""
    from .experiment import arms, evaluate, study

    files, checked = _files(targets, changes), []
    arms.agree(files)
    for file in files:
        try:
            rows = (evaluate if "model" in file.values else study).preflight(file.values)
        except UserError as error:
            raise UserError(f"{file.path}: {error}") from error
        checked.append((file, rows or {}))
    for file, _ in checked:
        _note_shared(file)
    return checked


def _note_shared(file: params.ParamFile) -> None:
    """Print a note where a file's results take the place of another profile's."""
    here, profile = file.path.resolve(), file.values["profile"]
    other = params.root() / "params" / profile / f"{file.notebook.stem}.yaml"
    if (
        layers.is_there(other, params.root())
        and other.resolve() != here
        and room.folder_of(params.load(other)) == room.folder_of(file)
    ):
        print(
            f"note: {file.path} says `profile: {profile}`, so its results take the place of those "
            f"of params/{profile}; give it a profile of its own to keep both",
            file=sys.stderr,
        )


def main() -> None:
    """Run the command line; a UserError is one line and exit status 1."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
