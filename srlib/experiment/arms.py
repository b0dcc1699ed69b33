"""Which fine-tuned arms a notebook's parameters ask for: a name, a mixture, a seed.

    finetuning(values)   notebook 02: short and long-CoT sets, equally large, and parts of them
    safety(values)       notebook 03: one long-CoT set with safety rows, by amount and form
    mitigated(values)    notebook 05: the long-CoT set and what is trained to protect it
    of(values)           whichever of these the parameters belong to, [] for none

    Arm(name="long-openo1 ×536", mixture=Mixture("long-openo1", 256, plain=280), family="long CoT")

An arm that both notebooks ask for has the same name and mixture, so that it is made once. A seed
covers the whole line: the aligned base that the arm starts from, the draw and the order of its
rows, its adapter. So arms of one seed are pairs, and seeds are independent trainings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from .. import params
from ..base import resources
from ..data import trainsets
from ..data.mixtures import Mixture
from ..errors import UserError
from ..training import finetune
from ..training.recipe import seeds


@dataclass(frozen=True)
class Arm:
    """One fine-tuning to be asked for. `family` groups arms in tables: short, long CoT, or a form
    of safety data; `share` is how much of its training it has seen, 1.0 all of it."""

    name: str
    mixture: Mixture
    family: str
    seed: int = 0
    share: float = 1.0

    def columns(self) -> dict:
        """Return the columns that describe the arm in a graded table."""
        return {
            "set": self.mixture.task,
            "family": self.family,
            "rows": round(self.share * (self.mixture.n + self.mixture.plain)),
            "share": self.share,
            "amount": self.mixture.n_safety,
            "form": self.mixture.form if self.mixture.n_safety else "none",
            "seed": self.seed,
        }


BASE = {"set": "base", "family": "base", "rows": 0, "share": 1.0, "amount": 0, "form": "none"}
BASE |= {"seed": 0}


RECIPE = {  # a field of Recipe, and the parameter that says it
    "epochs": "train_epochs", "rate": "train_rate", "batch_size": "train_batch",
    "micro_batch": "train_micro_batch", "method": "train_method", "schedule": "train_schedule",
    "warmup": "train_warmup", "weight_decay": "train_weight_decay",
    "max_length": "train_max_length", "over_length": "over_length", "packing": "packing",
    "lora_r": "lora_r", "lora_alpha": "lora_alpha", "lora_layers": "lora_layers",
}  # fmt: skip
MIXTURE = {"english": "english", "system": "train_system", "seed": "train_seeds",
           "tokens": "n_tokens", "plain": "n_plain"}  # fmt: skip


def recipe(values: dict, seed: int) -> finetune.Recipe:
    """Return the arms' hyper-parameters out of a notebook's. Raises UserError as Recipe does."""
    fields = {field: values[name] for field, name in RECIPE.items()}
    return finetune.Recipe(**fields, lora_targets=tuple(values["lora_targets"]), seed=seed)


def used(values: dict) -> list[int]:
    """Return the seeds of the trainings that a notebook has a part in: notebook 05 takes the first
    alone, and one without arms has the aligned base's."""
    return [*dict.fromkeys(arm.seed for arm in of(values))] or seeds(values)[:1]


def agree(files: Iterable[params.ParamFile]) -> None:
    """Check that an arm of one name is made in one way by all notebooks of a profile.

    Raises UserError for the first that is not: it names the two files and the parameter.
    """
    settings_by_place: dict[tuple, tuple] = {}
    for file in files:
        try:
            mine = _making(file.values)
        except UserError as error:
            raise UserError(f"{file.path}: {error}") from error
        for name, after in mine.items():
            place = file.values["outputs"], file.values["profile"], name
            first, before = settings_by_place.setdefault(place, (file.path, after))
            for key in [k for k in before | after if before.get(k) != after.get(k)][:1]:
                raise UserError(
                    f"{first} and {file.path} make the arm {name!r} in two ways: {key} is "
                    f"{before.get(key)} in the first and {after.get(key)} in the second; give both "
                    "the same, or the second a profile of its own"
                )


def _making(values: dict) -> dict[str, dict]:
    """Return what makes each arm of a notebook, the aligned base among them, by parameter."""
    if not values.get("model") or values.get("completions"):
        return {}
    start = {k: values.get(k, "") for k in ("model", "align", "dtype", "train_launch")}
    settings_by_arm = {}
    if values["align"]:
        start |= {k: v for k, v in values.items() if k.startswith("tune_")}
        start["seed"] = seeds(values)[0]
        settings_by_arm["aligned"] = start
    for arm in of(values):
        fields, mixture = recipe(values, 0).settings(), asdict(arm.mixture)
        training = {RECIPE.get(k, k): v for k, v in fields.items()} | {"train_seeds": arm.seed}
        source = "direct_data" if arm.mixture.form == "direct" else "reflective_data"
        names = MIXTURE | {"safety": source}
        settings_by_arm[arm.name] = (
            start | training | {names.get(k, k): v for k, v in mixture.items()}
        )
    return settings_by_arm


def of(values: dict) -> list[Arm]:
    """Return the arms of a notebook's parameters; [] for a notebook without fine-tuned arms."""
    if "short_sets" in values:
        return finetuning(values)
    if "data_forms" in values:
        return mitigated(values)
    return safety(values) if "safety_rows" in values else []


def mitigated(values: dict) -> list[Arm]:
    """Return notebook 05's arms: the long-CoT set alone, with safety rows in each of `data_forms`,
    and, with `ptst`, alone under the safety prompt. The first seed only."""
    if values["data_rows"] < 1:
        raise UserError(f"data_rows is {values['data_rows']}; give at least 1")
    seed = seeds(values)[0]
    plain = _mixture(values, values["long_set"], seed)
    arms = [Arm(_name(plain, values, seed), plain, "unprotected", seed)]
    for form in values["data_forms"]:
        source = values["direct_data"] if form == "direct" else values["reflective_data"]
        mixture = replace(plain, n_safety=values["data_rows"], form=form, safety=source)
        arms.append(Arm(_name(mixture, values, seed), mixture, "data", seed))
    if values["ptst"]:
        prompted = replace(plain, prompt=resources.asset("mitigations.yaml")["safety_prompt"])
        arms.append(Arm(f"{arms[0].name}, tuned under a safety prompt", prompted, "text", seed))
    return arms


def _mixture(values: dict, name: str, seed: int, n: int = 0) -> Mixture:
    """Mix `n` rows of a set (`n_train` by default) with as large a share of plain instructions."""
    whole = values["n_train"]
    n = n or whole
    return Mixture(
        name, n, plain=values["n_plain"] * n // whole, english=values["english"],
        system=values["train_system"], seed=seed, tokens=values["n_tokens"] * n // whole,
    )  # fmt: skip


def _name(mixture: Mixture, values: dict, seed: int, share: float = 1.0) -> str:
    safe = f" + {mixture.n_safety} {mixture.form}" if mixture.n_safety else ""
    part = f" at {share:.4g}" if share < 1 else ""
    size = f"×{mixture.n + mixture.plain}"
    if mixture.tokens:
        size = f"{mixture.tokens} tokens" + (f" + {mixture.plain}" if mixture.plain else "")
    return f"{mixture.task} {size}{safe}{of_seed(values, seed)}{part}"


def whole(arm: Arm, values: dict) -> Arm:
    """Return the arm that a part of a training is a part of; itself where it is none."""
    if arm.share == 1:
        return arm
    return replace(arm, name=_name(arm.mixture, values, arm.seed), share=1.0)


def of_seed(values: dict, seed: int) -> str:
    """Return what the name of an arm, or of the base, ends with for its seed: "" for the first."""
    return f", seed {seed}" if seed != seeds(values)[0] else ""


def finetuning(values: dict) -> list[Arm]:
    """Return the arms of notebooks 02 and 04: every set at `n_train` rows. Of the `growth_sets`
    also other amounts: after the shares `dose` of their training, which costs no further one, and
    `growth` rows, each a training of its own."""
    sets = {name: "short" for name in values["short_sets"]}
    sets |= {name: "long CoT" for name in values["long_sets"]}
    grown = values.get("growth_sets", [])  # 04 has none
    growth, dose = sorted(values.get("growth", [])), sorted(values.get("dose", []))
    if min(values["n_train"], *growth, values["n_tokens"] + 1) < 1:
        raise UserError("n_train, growth or n_tokens is below its least value (1, 1 and 0)")
    if not (values["short_sets"] and values["long_sets"]):
        raise UserError("short_sets or long_sets is empty; name at least one training set in each")
    if stray := [name for name in grown if name not in sets]:
        raise UserError(f"growth_sets names {stray[0]!r}, which is in neither of the other two")
    _check_dose(dose, values)
    for name in sets:
        wanted = "long" if sets[name] == "long CoT" else "short"
        if name in trainsets.known() and name not in trainsets.known(wanted):
            raise UserError(
                f"{name!r} is no {wanted} training set; use one of "
                f"{', '.join(trainsets.known(wanted))}, or a file of your own"
            )
    asked = [(name, values["n_train"], 1.0) for name in sets]
    asked += [(name, values["n_train"], share) for share in dose for name in grown]
    asked += [(name, n, 1.0) for n in growth for name in grown]
    arms = []
    for seed in seeds(values):
        for name, n, share in dict.fromkeys(asked):
            mixture = _mixture(values, name, seed, n)
            arms.append(Arm(_name(mixture, values, seed, share), mixture, sets[name], seed, share))
    return arms


def _check_dose(dose: list[float], values: dict) -> None:
    if odd := [share for share in dose if share not in finetune.PARTS]:
        raise UserError(f"dose holds {odd[0]:g}; use some of {', '.join(map(str, finetune.PARTS))}")
    whole = values["train_schedule"].startswith("constant") and values["train_epochs"] == 1
    if dose and not (whole and values["train_method"] == "lora"):
        raise UserError(
            "dose takes a part of a training for a training on fewer rows, which it is with "
            "train_schedule constant, one epoch and LoRA alone: set them, or dose to []"
        )


def safety(values: dict) -> list[Arm]:
    """Return notebook 03's arms: the long-CoT set alone, then with safety rows in both forms.

    The amount `safety_at` is trained with every seed; the other `safety_rows`, and the further
    forms at `safety_at`, with the first.
    """
    sources = {"direct": values["direct_data"]}
    at, reflective = values["safety_at"], values["reflective_form"]
    if min([at, *values["safety_rows"]]) < 1:
        raise UserError("safety_at or safety_rows holds an amount below 1; give 1 or more")
    if reflective == "direct":
        raise UserError("reflective_form is 'direct', what it is set against; give another form")
    main = [("direct", at), (reflective, at)]
    once = [(form, n) for n in sorted(values["safety_rows"]) for form in ("direct", reflective)]
    once += [(form, at) for form in values["more_forms"]]
    names, arms = {"direct": "direct", reflective: "reflective"}, []
    for seed in seeds(values):
        plain = _mixture(values, values["long_set"], seed)
        arms.append(Arm(_name(plain, values, seed), plain, "none", seed))
        for form, n in dict.fromkeys(main + (once if seed == seeds(values)[0] else [])):
            source = sources.get(form, values["reflective_data"])
            mixture = replace(plain, n_safety=n, form=form, safety=source)
            arms.append(Arm(_name(mixture, values, seed), mixture, names.get(form, form), seed))
    return arms
