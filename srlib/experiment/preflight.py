"""What can be checked before a model is loaded, is checked: folder, model, data, judges, arms.

The values are a notebook's parameters. What comes back are the evaluation rows by kind:

    preflight(values)   ->   {"reasoning": [data.Row(…), …], "harmful": […], "benign": […]}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .. import store
from ..data import evalsets, mixtures, trainsets
from ..errors import UserError
from ..generation import prompts
from ..grading import judges
from ..mitigations import prompted
from ..models import loading
from ..params import output_folder, place
from ..training import finetune, launched, preference_rows, preferences, templates
from . import arms, foresight, serving


def preflight(values: dict) -> dict[str, list[evalsets.Row]]:
    """Check a run's parameters against the world: output folder, model, data, overlap.

    Returns the evaluation rows by kind. Loads no model; raises UserError at the first fault.
    """
    from ..grading import agreement, calibration

    outputs = store.writable(output_folder(values))
    for judge in judges.of(values):
        if judge.where is None:
            loading.resolve(judge.model, outputs)
    calibration.labelled(values.get("labels", ""))
    agreement.load(values.get("labelled", ()))
    if values.get("completions"):  # made elsewhere: no model is needed, no rows are asked
        foresight.completions(values)
        return {}
    serving.preflight(values, outputs)
    if not serving.asked(values) or serving.trains(values):
        loading.resolve(values["model"], outputs)
    loading.pick_dtype(values["dtype"])
    rows = {
        kind: evalsets.load(values[f"{kind}_data"], kind, values[f"n_{kind}"], values["seed"])
        for kind in evalsets.KINDS
    }
    prompts_of = [row.prompt for kind in evalsets.KINDS for row in rows[kind]]
    launch = launched.of(values.get("train_launch", ""))
    processes = launch.processes if launch else 1
    tunings = {}  # of the aligned base, by seed
    if values["align"]:
        finetune.Recipe(batch_size=values["tune_batch"]).split(processes)
        for seed in arms.used(values):
            tunings[seed] = mixtures.aligned_rows(safety_tuning(values), seed)
            asked = [row["prompt"][0]["content"] for row in tunings[seed]]
            evalsets.check_disjoint(asked, prompts_of, "the aligned base")
    shots = prompts.demonstrations()
    asked = [d["question"] for kind in ("reasoning", "safety", "placebo") for d in shots[kind]]
    evalsets.check_disjoint(asked, prompts_of, "the demonstrations")
    for k in values.get("reasoning_shots", []):
        for m in values.get("safety_shots", []):
            prompts.few_shot(k, m, values.get("layout", "turns"))
    tuned_arms = arms.of(values)
    for arm in tuned_arms:
        arms.recipe(values, arm.seed).split(processes)
    trained = {f"the aligned base, seed {seed}": rows for seed, rows in tunings.items()}
    for mixture in apart(arm.mixture for arm in tuned_arms):
        built = mixtures.build(mixture, prompts_of)
        trained[mixture.task or mixture.safety] = built.rows
        _apart_from_base(mixture, built.examples, tunings.get(mixture.seed, ()))
    if trained and values["model"] != loading.EMBEDDED:
        words = loading.tokenizer(values["model"], outputs)
        for name, training_rows in trained.items():
            templates.check(name, words, training_rows)
    for method in preferences.of(values):
        preference_rows.rows_of(method, values, prompts_of)
    for name in values.get("mitigations", []):
        prompted.named(name, trainsets.dialect(values["long_set"]), times=values["think_times"])
    if values.get("unaligned_model"):
        loading.resolve(values["unaligned_model"], outputs)
    for folder in values.get("more_arms", {}).values():
        loading.fingerprint(values["model"], outputs, (place(folder),))
    foresight.check(values, prompts_of, outputs)
    return rows


def _apart_from_base(mixture: mixtures.Mixture, examples: list, tuning: Iterable[dict]) -> None:
    """Raise UserError where a row of an arm is a row of its base, too, or nearly: such an arm goes
    on with what its base was taught, and does not compare with one that learns something new."""
    near = mixtures.matcher(tuple(row["prompt"][0]["content"] for row in tuning))
    shared = [e for e in examples if near(e.prompt)]
    if shared:
        raise UserError(
            f"{len(shared)} rows of {mixture.task or mixture.safety!r} are rows of the aligned "
            f"base's own tuning, or nearly (the first: {shared[0].prompt[:60]!r}); take them out "
            "of the set, or set align to false"
        )


def undecidable(notebook: str, values: dict, rows: dict[str, list[evalsets.Row]]) -> list[str]:
    """Return a line for each claim of a notebook that these numbers are unlikely to decide, and
    what could (`crossed.hopeless`). rows: by kind, as `preflight` returns them."""
    from ..analysis import crossed, verdicts

    names, lines = verdicts.names(notebook[:2]), []
    level = crossed.contrasts.LEVEL / max(1, len(names))
    for name in names:
        asked = verdicts.claim(name)
        planned = asked.get("planned", {})
        kinds = [_kind(measure) for measure in planned]
        if not planned or not all(rows.get(kind) for kind in kinds):
            continue
        measures, what = [[pair] for pair in planned.values()], "prompts of each kind"
        if asked["measure"] in verdicts.SPANS:  # one measure that adds up several rates
            measures = [[*planned.values()]]
        else:
            kinds, what = kinds[:1], "questions" if kinds[0] == "reasoning" else "requests"
        of_prompts = asked["comparison"] == "prompts"
        trainings = None if of_prompts else len(set(values.get("train_seeds", [0])))
        sizes = [len(rows[kind]) for kind in kinds]
        lines.append(
            crossed.hopeless(name, what, sizes, trainings, measures, asked["smallest"], level)
        )
    return [line for line in lines if line]


def _kind(measure: str) -> str:
    """Return the kind of rows that a measure is of."""
    from ..metrics import MEASURES

    return next(kind for kind, measures in MEASURES.items() if measure in measures)


def apart(asked: Iterable[mixtures.Mixture]) -> list[mixtures.Mixture]:
    """Return the mixtures to build to know that all of these can be built: task rows and safety
    rows apart, and of those that differ only in how many rows they have the largest, as a smaller
    one is its beginning."""

    def counts(mixture):
        return mixture.n, mixture.tokens, mixture.plain, mixture.n_safety

    most: dict[tuple, mixtures.Mixture] = {}
    for whole in (replace(m, system=False, prompt="") for m in asked):
        task = replace(whole, safety="", n_safety=0, form="direct")
        safe = replace(whole, n=0, tokens=0, plain=0)
        for part in [p for p in (task, safe) if any(counts(p))] or [whole]:
            alike = replace(part, n=0, tokens=0, n_safety=0), *(c > 0 for c in counts(part))
            most[alike] = max(most.get(alike, part), part, key=counts)
    return [*most.values()]


def safety_tuning(values: dict) -> mixtures.Safety:
    """Return how many rows of each kind the aligned base is tuned on, out of the parameters."""
    names = ("refusals", "lookalikes", "instructions")
    return mixtures.Safety(**{name: values[f"tune_{name}"] for name in names})
