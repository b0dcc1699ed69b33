"""A sweep: notebooks × model × seed × any parameter, from one file, as jobs for Snakemake.

    # two CPU cores, 8 GB a job                        params/sweeps/three-seeds.yaml
    base: quick                                        # a profile
    notebooks: [02_long_cot_finetuning]                # without: all that the profile has
    set: {n_train: 32}                                 # in every job
    grid:
      seed: [0, 1, 2]                                  # a parameter's values, or
      model: {small: {model: org/name, batch_size: 64}, large: {…}}      # several at once, named
    gpus: 0                                            # a job

Every point of the grid becomes a profile, `three-seeds/seed-0`, of complete parameter files,
checked before anything starts; the last job is notebook 06 over all of them. All lies under
`outputs/three-seeds/`: a folder a point, 06_verdicts, and sweep/ (params, logs, done, jobs.json).
What is done is told by `run.is_made`, not by files' times: the Snakefile gets the rest.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from .. import params, store
from ..base import layers
from ..errors import UserError, meant
from ..experiment import arms
from . import run

KEYS = ("base", "notebooks", "set", "grid", "gpus")
POOLED, SOURCE = "06_verdicts", "02_long_cot_finetuning"
AFTER = {"04_failure_modes": SOURCE, "05_mitigations": SOURCE}  # what asks for another's arms


@dataclass(frozen=True)
class Job:
    """One run: `name` is point/notebook, `needs` the names of jobs that come first."""

    name: str
    file: str
    minutes: float
    gpus: int
    needs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sweep:
    """All jobs of a sweep file, and the folder of the sweep's own files."""

    name: str
    folder: Path
    jobs: list[Job]

    def log(self, job: Job) -> Path:
        return self.folder / "logs" / f"{job.name}.log"

    def done(self, job: Job) -> Path:
        return self.folder / "done" / job.name


def plan(path: Path) -> Sweep:
    """Read a sweep file, check and write every job's parameter file, and jobs.json for Snakemake.

    Raises UserError for unknown keys, parameters that no notebook of the sweep has, and for what
    `params.load` finds wrong with a job's file.
    """
    spec = _read(path)
    bases = [params.load(f) for f in params.profile_files(spec["base"], params.root())]
    bases = {f.notebook.stem: f for f in bases if f.notebook.stem != POOLED}
    chosen = spec.get("notebooks") or [*bases]
    if stray := [n for n in chosen if n not in bases]:
        raise UserError(f"{path}: profile {spec['base']} has no {stray[0]}{meant(stray[0], bases)}")
    points = _points(path, spec.get("grid") or {})
    _known(path, [bases[n] for n in chosen], [spec.get("set") or {}, *points.values()])
    shared = spec.get("set") or {}
    folder = _outputs(bases[chosen[0]].values | shared) / path.stem / "sweep"
    jobs = []
    for point, own in points.items():
        for notebook in chosen:
            values = shared | own | {"profile": f"{path.stem}/{point}"}
            file = _write(folder, f"{point}/{notebook}", bases[notebook], values)
            needs = [f"{point}/{n}" for n in [AFTER.get(notebook)] if n in chosen]
            gpus = spec.get("gpus", _gpus(bases[notebook]))
            jobs.append(Job(f"{point}/{notebook}", str(file), bases[notebook].header.minutes,
                            gpus, needs))  # fmt: skip
    pooled = {"profile": path.stem, "profiles": [f"{path.stem}/{point}" for point in points]}
    pooled |= {"outputs": bases[chosen[0]].values["outputs"]} | {
        k: v for k, v in shared.items() if k == "outputs"
    }
    file = _put(folder, f"{path.stem}/{POOLED}", "# any machine, 1 GB, no GPU; 1 minute", pooled)
    jobs.append(Job(f"{path.stem}/{POOLED}", str(file), 1.0, 0, [j.name for j in jobs]))
    arms.agree(params.load(job.file) for job in jobs)
    sweep = Sweep(path.stem, folder, jobs)
    _mark(sweep)
    return sweep


def _read(path: Path) -> dict:
    if not path.is_file():
        near = [str(p) for p in (params.root() / "params/sweeps").glob("*.yaml")]
        raise UserError(f"no sweep file {path}{meant(str(path), near)}")
    spec = layers.value(layers.read_text(path), str(path))
    if not isinstance(spec, dict) or "base" not in spec:
        raise UserError(f"{path}: give a sweep its `base: PROFILE` and its `grid:`")
    if stray := [k for k in spec if k not in KEYS]:
        raise UserError(f"{path}: unknown key {stray[0]!r}{meant(str(stray[0]), KEYS)}")
    return spec


def _points(path: Path, grid: dict) -> dict[str, dict]:
    """Return the grid's points: name -> the parameters that it sets."""
    axes = []
    for axis, values in grid.items():
        if not values or not isinstance(values, list | dict):
            raise UserError(f"{path}: grid {axis!r} needs a list of values, or names for them")
        named = values if isinstance(values, dict) else {f"{axis}-{v}": {axis: v} for v in values}
        if bad := [name for name, settings in named.items() if not isinstance(settings, dict)]:
            raise UserError(f"{path}: grid {axis!r}, {bad[0]!r}: give `parameter: value` pairs")
        axes.append([(store.slug(str(name)), settings) for name, settings in named.items()])
    points = {}
    for chosen in itertools.product(*axes):
        name = "--".join(label for label, _ in chosen) or "all"
        if name in points or name == "sweep":
            raise UserError(f"{path}: two points of the grid are called {name!r}; name them apart")
        points[name] = {k: v for _, settings in chosen for k, v in settings.items()}
    return points


def _known(path: Path, files: list[params.ParamFile], settings: list[dict]) -> None:
    """Raise UserError for a parameter that no notebook has, or `outputs` set by a point."""
    known = {name for f in files for name in f.values} - {"profile"}
    if stray := [k for values in settings for k in values if k not in known]:
        raise UserError(
            f"{path}: no notebook of this sweep has a parameter {stray[0]!r}"
            f"{meant(str(stray[0]), known)}"
        )
    places = {str(values["outputs"]) for values in settings[1:] if "outputs" in values}
    if places:
        raise UserError(f"{path}: `outputs` is the same for all jobs; put it under `set`")


def _outputs(values: dict) -> Path:
    from ..params import output_folder

    return store.writable(output_folder(values))


def _gpus(base: params.ParamFile) -> int:
    """Return 1 where the base's first line names a GPU, else 0."""
    return int(bool(re.search(r"(?<!no )GPU", base.header.hardware)))


def _write(where: Path, name: str, base: params.ParamFile, told: dict) -> Path:
    """Write a job's file: the base's values with those of `told` that its notebook has."""
    values = base.values | {k: v for k, v in told.items() if k in base.values}
    head = f"# {base.header.hardware}; {base.header.minutes:g} minutes"
    return _put(where, name, head, values)


def _put(where: Path, name: str, head: str, values: dict) -> Path:
    path = where / "params" / f"{name}.yaml"
    text = f"{head}\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"
    if not path.exists() or path.read_text("utf-8") != text:
        store.write(path, text)
    params.load(path)
    return path


def _mark(sweep: Sweep) -> None:
    """Mark the jobs that are done, unmark the others, and write jobs.json for the Snakefile."""
    for job in sweep.jobs:
        mark = sweep.done(job)
        if not run.is_made(params.load(job.file)):
            mark.unlink(missing_ok=True)
        elif not mark.exists():
            store.write(mark, "")
    paths = {"root": str(params.root()), "python": sys.executable, "folder": str(sweep.folder)}
    store.write_json(sweep.folder / "jobs.json", paths | {"jobs": [asdict(j) for j in sweep.jobs]})


def states(sweep: Sweep) -> Iterator[tuple[str, str, str]]:
    """Yield each job's name, `done`, `failed`, `stopped` or `waiting`, and its error or log."""
    for job in sweep.jobs:
        log = sweep.log(job)
        if run.is_made(params.load(job.file)):
            yield job.name, "done", ""
        elif not log.exists():
            yield job.name, "waiting", ""
        else:
            lines = log.read_text("utf-8", errors="replace").strip().splitlines()
            faults = [line for line in lines if line.startswith("error:")]
            yield job.name, *(("failed", faults[-1]) if faults else ("stopped", str(log)))


def command(sweep: Sweep, cluster: str, dry_run: bool, gpus: list[str]) -> list[str]:
    """Return Snakemake's command line for this machine, or a cluster by its profile's folder."""
    root = params.root()
    own = root / ".venv-sweep" / "bin" / "snakemake"
    program = str(own) if own.exists() else shutil.which("snakemake")
    if not program:
        raise UserError(
            "Snakemake is not installed: `make sweep SWEEP=…` does that, in .venv-sweep"
        )
    words = [program, "--snakefile", str(root / "Snakefile"), "--directory", str(sweep.folder)]
    words += ["--nolock", "--rerun-incomplete", "--keep-going", "--rerun-triggers", "mtime"]
    if cluster:
        folder = root / "params/clusters" / cluster
        folder = folder if folder.is_dir() else Path(cluster).resolve()
        if not (folder / "config.yaml").exists():
            known = ", ".join(p.parent.name for p in root.glob("params/clusters/*/config.yaml"))
            raise UserError(f"no cluster profile {cluster!r} (known: {known}; or a folder)")
        words += ["--profile", str(folder)]
        if "default-storage-provider" in (folder / "config.yaml").read_text("utf-8"):
            words += ["--default-storage-prefix", str(sweep.folder)]
    else:
        words += ["--cores", str(max(1, len(gpus)))]
        words += ["--resources", f"gpu={len(gpus)}"] if gpus else []
    words += ["--dry-run"] if dry_run else []
    return [*words, "--config", f"plan={sweep.folder / 'jobs.json'}"]


def start(sweep: Sweep, cluster: str = "", dry_run: bool = False) -> int:
    """Run what is not done; return Snakemake's exit status. Failures do not stop the other jobs."""
    from . import pin

    gpus = [] if cluster else pin.devices()
    words = command(sweep, cluster, dry_run, gpus)
    environment = {k: v for k, v in os.environ.items() if k != pin.VARIABLE}
    environment |= {pin.VARIABLE: ",".join(gpus)} if gpus else {}
    with store.lock(sweep.folder / "sweep"):
        _mark(sweep)
        if not dry_run:
            for job in sweep.jobs:  # what is said below is of this round
                if not sweep.done(job).exists():
                    sweep.log(job).unlink(missing_ok=True)
        return subprocess.run(words, env=environment).returncode
