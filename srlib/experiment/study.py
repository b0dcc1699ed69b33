"""A study in one object: what all notebooks of one or several profiles left, as tidy tables.

    S = study.load("outputs", ["mine-llama", "mine-qwen"])
    S.metrics.query("metric == 'refusal_rate' and family == 'long CoT'")
    S.pooled()                    one estimate a claim, over all runs that measured it
    S.verdicts()                  every claim of the study beside it, with a verdict

A row of `runs`:

    profile="quick", notebook="02_long_cot_finetuning", status="done", model="embedded",
    base="b179c9523d0e6a0f", aligned="76924d2c2f9d78e1", dtype="bfloat16", seed=0, seconds=301.2, …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from .. import store
from ..analysis import pooling, verdicts
from ..errors import UserError, meant
from ..params import output_folder
from . import provenance, study_runs

OWN = "06_verdicts"  # reads the others, and is not read itself
RUN = ["profile", "notebook", "status", "started", "seconds", "model", "base", "aligned", "dtype"]
RUN += ["seed", "commit", "versions", "reveal", "asked", "digest", "peak_gib", "spent"]
SPENT = ["training", "answering", "loading", "grading"]
SAME = ["profile", "made", "data", "metric", "n", *study_runs.HOW]


@dataclass(frozen=True)
class Study:
    """All finished runs of some profiles.

    `runs`: a row a run; `base` and `aligned` are fingerprints of the weights, `asked` a digest of
    the parameters, `digest` one of the files read. `metrics`: all metrics.csv, with `made` (what
    made the arm: its folder, or a fingerprint) and how it was asked. `claims`: all claims.csv.
    `missing`: "profile/notebook" -> why it is not among the runs. `folders`: profile -> its folder.
    """

    runs: pd.DataFrame
    metrics: pd.DataFrame
    claims: pd.DataFrame
    missing: dict[str, str]
    folders: dict[str, Path]
    run: provenance.Run | None = None

    def table(self, name: str) -> pd.DataFrame:
        """Return another table of the runs in one, such as "balance.csv", "calibration.csv"."""
        return study_runs.together(self.folders, self.runs, name)

    def digests(self) -> dict[str, str]:
        """Return "profile/notebook" -> digest of the files read: other ones, another study."""
        return {f"{run.profile}/{run.notebook}": run.digest for run in self.runs.itertuples()}

    def unique(self) -> pd.DataFrame:
        """Return the metrics with one row a measurement.

        An arm that several notebooks measured (same weights, prompt, data, room for the answer,
        seed) is one arm. Where they disagree the latest run's value stays; of those that have it,
        the first notebook's row.
        """
        began = self.runs.set_index(["profile", "notebook"])["started"].rename("_began")
        rows = self.metrics.join(began, on=["profile", "notebook"])
        latest = rows.sort_values("_began", kind="stable").drop_duplicates(SAME, keep="last")
        latest_rows = self.metrics.merge(latest[[*SAME, "value"]])
        return latest_rows.drop_duplicates(SAME).reset_index(drop=True)

    def plane(self, profile: str = "") -> pd.DataFrame:
        """Return the rows for `plots.trade_off(…, hue="kind of arm", label="name")`: one profile's
        arms (by default the first's), on the reasoning and the harmful data set of most arms; empty
        where no arm was measured on both."""
        rows = self.unique()
        rows = rows[rows["profile"] == (profile or next(iter(self.folders)))]
        sides = [rows[rows["metric"] == m] for m in ("exact_match", "refusal_rate")]
        sides = [side[side["data"] == side["data"].mode().get(0)] for side in sides]
        rows = pd.concat(sides).sort_index()
        named = rows.assign(name=_names(rows), **{"kind of arm": [*map(_kind, _records(rows))]})
        named = named.sort_values("kind of arm", key=_kinds_in_order, kind="stable")
        both = named.groupby("name")["metric"].nunique().eq(2).any()
        return named if both else named.iloc[:0]

    def minutes(self) -> pd.DataFrame:
        """Return where the minutes of each run went (training, answering, loading, grading, all
        else, whole), and its peak memory in GiB. What was there before a run cost it nothing."""
        spent = pd.DataFrame(self.runs["spent"].tolist(), index=self.runs.index, columns=SPENT)
        spent, whole = spent.astype(float).fillna(0.0) / 60, self.runs["seconds"] / 60
        totals = {"all else": whole - spent.sum(axis=1), "whole": whole}
        table = self.runs[["profile", "notebook"]].join(spent).assign(**totals)
        return table.assign(peak_gib=self.runs["peak_gib"])

    def completions(self, texts: bool = False) -> pd.DataFrame:
        """Read what the runs asked for, a row a completion: profile, file, key, id, data, model,
        new_tokens, finish; with `texts` also the text, which may be harmful, unredacted. What other
        and earlier runs left in the same files is left out, and so is a torn last line; a broken
        line raises UserError."""
        rows = []
        for profile, folder in self.folders.items():
            mine = self.runs.loc[self.runs["profile"] == profile, "notebook"]
            asked = study_runs.asked([folder / notebook for notebook in mine])
            for path in sorted(folder.glob("completions/*.jsonl")):
                keys = asked.get(f"completions/{path.name}", ())
                records = study_runs.completions(path, texts) if keys else ()
                rows += [{"profile": profile} | r for r in records if r["key"] in keys]
        columns = ["profile", "file", "key", "id", "data", "model", "new_tokens", "finish"]
        return pd.DataFrame(rows, columns=[*columns, "text"] if texts else columns)

    def pooled(self) -> pd.DataFrame:
        """Return one estimate a measure of a measured claim: `effect` [low, high] (95 %) and p by
        random effects, the `fixed` effect beside it, how many runs and trainings, n (prompts of the
        run with the most), I² and τ² as shares.

        One run: its own numbers. Several: inverse-variance weights, τ² by Paule and Mandel, t
        intervals and tests by Hartung and Knapp, with one less degree of freedom than runs (see
        `srlib.analysis.pooling`). Assumed: the runs are independent (another model, or another
        training: the same run under two names counts once). Runs whose arms failed a gate have no
        part. Runs share prompts: the intervals speak of these prompts.
        """
        return pooling.pooled(pooling.measured(self.claims, self.runs))

    def verdicts(self) -> pd.DataFrame:
        """Return a row for every claim C1 to C11 and its parts: the table of `verdicts.answer`, the
        pooled effect, p by Holm over all claims that can be decided, and how many runs measured it.
        """
        measured, estimates = pooling.measured(self.claims, self.runs), self.pooled()
        table = verdicts.answer(pooling.evidence(measured, estimates))
        runs = measured[measured["n"] > 0].groupby(["claim", "measure"]).size()
        runs = runs.groupby("claim").max()
        return table.assign(runs=[int(runs.get(c, 0)) for c in table["claim"]])


def load(outputs: str | Path, profiles: str | Sequence[str]) -> Study:
    """Read all finished runs of the profiles: folders under `outputs`, or paths to such folders.

    Nothing is run or written. A run that is not there, not finished, or torn is in `missing`.
    """
    profiles = [profiles] if isinstance(profiles, str) else list(profiles)
    folders = {p: Path(outputs).expanduser() / Path(p).expanduser() for p in profiles}
    rows, missing = [], {}
    for profile, folder in folders.items():
        there = {f.parent.name for f in folder.glob("*/run.json")}
        for notebook in sorted({*there, *study_runs.notebooks()} - {OWN}):
            record, why = study_runs.record_of(folder / notebook)
            if why:
                missing[f"{profile}/{notebook}"] = why
            else:
                names = {"profile": profile, "notebook": notebook}
                rows.append(names | study_runs.row(record, folder / notebook))
    runs = pd.DataFrame(rows, columns=RUN)
    metrics, claims = (study_runs.together(folders, runs, name) for name in study_runs.FILES)
    return Study(runs, study_runs.with_making(metrics, folders), claims, missing, folders)


def start(notebook: str, parameters) -> Study:
    """Load what a notebook's parameters name (`params.from_notebook`), and open its run.

    Needs no data and no model. Raises UserError where there is nothing to read.
    """
    values = parameters.as_dict()
    preflight(values)
    outputs, profiles = _asked(values)
    study = load(outputs, profiles)
    if study.runs.empty:
        raise UserError(nothing(*study.folders.values()))
    run = provenance.Run(notebook, values, outputs)
    run.note(reads=study.digests(), missing=study.missing)
    return replace(study, run=run)


def preflight(values: dict) -> None:
    """Check what `start` needs: an output folder to write to, and the folders of other profiles."""
    outputs, profiles = _asked(values)
    store.writable(outputs)
    for profile in profiles:
        folder = outputs / Path(profile).expanduser()
        if profile != values["profile"] and not folder.is_dir():
            near = meant(profile, [f.name for f in outputs.iterdir() if f.is_dir()])
            raise UserError(f"profile {profile!r} has no results, {folder} is not there{near}")


def reads(values: dict) -> dict[str, str]:
    """Return digests of what a run with these parameters would read now (`Study.digests`)."""
    return load(*_asked(values)).digests()


def nothing(*folders: Path) -> str:
    """Return a UserError's words where no run is finished."""
    where, names = " or ".join(map(str, folders)), " ".join(f.name for f in folders)
    return f"no finished run in {where}: run `python -m srlib run {names}` first"


def _asked(values: dict) -> tuple[Path, list[str]]:
    return output_folder(values), values["profiles"] or [values["profile"]]


def _records(rows: pd.DataFrame) -> list[dict]:
    return [{k: v for k, v in r.items() if pd.notna(v)} for r in rows.to_dict("records")]


def _kind(row: dict) -> str:
    """Return what kind of arm a row of the metrics is about, in the words of the figures."""
    family, prompted = row.get("family", ""), row.get("k", 0) + row.get("m", 0) > 0
    if prompted or row["arm"] == "zero-shot CoT":
        return "safety-aware prompts" if row.get("m") else "reasoning prompts"
    if row.get("amount", 0) > 0 and row.get("form", "none") != "none":
        return f"long CoT + {family} rows"
    plain = {"": "base", "base": "base", "none": "long CoT", "unprotected": "long CoT"}
    plain |= {"long CoT": "long CoT", "short": "short answers"}
    return plain.get(family, f"mitigation: {family}" if row["notebook"][:2] == "05" else family)


def _kinds_in_order(kinds: pd.Series) -> pd.Series:
    return (kinds != "base") * (1 + pd.factorize(kinds)[0])


def _names(rows: pd.DataFrame) -> list[str]:
    """Return each point's name: the arm's, with what tells it from another of the same name."""
    points = rows[["made", *study_runs.HOW]].astype(str).agg(" ".join, axis=1)
    name = rows["arm"].astype(str)
    tokens, notebook = rows["new_tokens"].astype(str) + " tokens", rows["notebook"].str[:2]
    for suffix in (", " + tokens, ", " + notebook):
        name = name.where(points.groupby(name).transform("nunique") < 2, name + suffix)
    return name.tolist()
