"""Which fine-tuned arms a notebook's parameters ask for: a name, a mixture, a seed.

    finetuning(values)   notebook 02: short and long-CoT sets, equally large; then more data
    safety(values)       notebook 03: one long-CoT set with safety rows, by amount and form
    mitigated(values)    notebook 05: the long-CoT set and what is trained to protect it
    of(values)           whichever of these the parameters belong to, [] for none

    Arm(name="long-openo1 ×16", mixture=Mixture("long-openo1", 16), family="long CoT", seed=0)

An arm that both notebooks ask for has the same name and mixture, so that it is made once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from . import finetune, params, sources, trainsets
from .errors import UserError
from .mixtures import Mixture


@dataclass(frozen=True)
class Arm:
    """One fine-tuning to be asked for. `family` groups arms in tables: short, long CoT, or a form
    of safety data; `seed` is the training's own (order of rows, initial adapter)."""

    name: str
    mixture: Mixture
    family: str
    seed: int = 0

    def columns(self) -> dict:
        """What a graded table says of the arm."""
        return {
            "set": self.mixture.task,
            "family": self.family,
            "rows": self.mixture.n,
            "amount": self.mixture.n_safety,
            "form": self.mixture.form if self.mixture.n_safety else "none",
            "seed": self.seed,
        }


BASE = {"set": "base", "family": "base", "rows": 0, "amount": 0, "form": "none", "seed": 0}


RECIPE = {  # a field of Recipe, and the parameter that says it
    "epochs": "train_epochs", "rate": "train_rate", "batch_size": "train_batch",
    "micro_batch": "train_micro_batch", "method": "train_method", "schedule": "train_schedule",
    "warmup": "train_warmup", "weight_decay": "train_weight_decay",
    "max_length": "train_max_length", "over_length": "over_length", "packing": "packing",
    "lora_r": "lora_r", "lora_alpha": "lora_alpha", "lora_layers": "lora_layers",
}  # fmt: skip
MIXTURE = {"english": "english", "system": "train_system", "seed": "seed", "tokens": "n_tokens"}


def recipe(values: dict, seed: int) -> finetune.Recipe:
    """The arms' hyper-parameters out of a notebook's. Raises UserError as Recipe does."""
    told = {field: values[name] for field, name in RECIPE.items()}
    return finetune.Recipe(**told, lora_targets=tuple(values["lora_targets"]), seed=seed)


def agree(files: Iterable[params.ParamFile]) -> None:
    """Check that an arm of one name is made in one way by all notebooks of a profile.

    Raises UserError for the first that is not: it names the two files and the parameter.
    """
    made: dict[tuple, tuple] = {}
    for file in files:
        try:
            mine = _making(file.values)
        except UserError as error:
            raise UserError(f"{file.path}: {error}") from error
        for name, how in mine.items():
            place = file.values["outputs"], file.values["profile"], name
            first, before = made.setdefault(place, (file.path, how))
            for key in [k for k in before | how if before.get(k) != how.get(k)][:1]:
                raise UserError(
                    f"{first} and {file.path} make the arm {name!r} in two ways: {key} is "
                    f"{before.get(key)} in the first and {how.get(key)} in the second; give both "
                    "the same, or the second a profile of its own"
                )


def _making(values: dict) -> dict[str, dict]:
    """What makes each arm of a notebook, the aligned base among them, by parameter."""
    if not values.get("model") or values.get("completions"):
        return {}
    start = {k: values.get(k, "") for k in ("model", "align", "dtype", "train_launch")}
    found = {}
    if values["align"]:
        start |= {k: v for k, v in values.items() if k.startswith("tune_")}
        start |= {"seed": values["seed"], "align_form": values.get("align_form", "direct")}
        if start["align_form"] != "direct":
            start["long_set"] = trainsets.dialect(values.get("long_set", "")) or "think"
        found["aligned"] = start
    for arm in of(values):
        how, mixture = recipe(values, 0).settings(), asdict(arm.mixture)
        told = {RECIPE.get(k, k): v for k, v in how.items()} | {"train_seeds": arm.seed}
        source = "direct_data" if arm.mixture.form == "direct" else "reflective_data"
        names = MIXTURE | {"safety": source}
        found[arm.name] = start | told | {names.get(k, k): v for k, v in mixture.items()}
    return found


def of(values: dict) -> list[Arm]:
    """The arms of a notebook's parameters; [] for a notebook without fine-tuned arms."""
    if "short_sets" in values:
        return finetuning(values)
    if "data_forms" in values:
        return mitigated(values)
    return safety(values) if "safety_rows" in values else []


def mitigated(values: dict) -> list[Arm]:
    """Notebook 05: the long-CoT set alone, with safety rows in each of `data_forms`, and, with
    `ptst`, alone under the safety prompt. The first seed only."""
    if values["data_rows"] < 1:
        raise UserError(f"data_rows is {values['data_rows']}; give at least 1")
    seed, plain = _seeds(values)[0], _mixture(values, values["long_set"], values["n_train"])
    arms = [Arm(_name(plain, values, seed), plain, "unprotected", seed)]
    for form in values["data_forms"]:
        source = values["direct_data"] if form == "direct" else values["reflective_data"]
        mixture = replace(plain, n_safety=values["data_rows"], form=form, safety=source)
        arms.append(Arm(_name(mixture, values, seed), mixture, "data", seed))
    if values["ptst"]:
        prompted = replace(plain, prompt=sources.asset("defences.yaml")["safety_prompt"])
        arms.append(Arm(f"{arms[0].name}, tuned under a safety prompt", prompted, "text", seed))
    return arms


def _mixture(values: dict, name: str, n: int, **more) -> Mixture:
    tokens = values["n_tokens"] * n // values["n_train"] if n else 0  # as many as n rows stand for
    return Mixture(
        name, n, english=values["english"], system=values["train_system"], seed=values["seed"],
        tokens=tokens, **more,
    )  # fmt: skip


def _name(mixture: Mixture, values: dict, seed: int) -> str:
    safe = f" + {mixture.n_safety} {mixture.form}" if mixture.n_safety else ""
    again = f", seed {seed}" if seed != values["train_seeds"][0] else ""
    size = f"{mixture.tokens} tokens" if mixture.tokens else f"×{mixture.n}"
    return f"{mixture.task} {size}{safe}{again}"


def _seeds(values: dict) -> list[int]:
    if not values["train_seeds"]:
        raise UserError("train_seeds is empty; name at least one seed")
    return list(dict.fromkeys(values["train_seeds"]))


def finetuning(values: dict) -> list[Arm]:
    """Notebooks 02 and 04: every set at `n_train` rows, then the `growth_sets` at other sizes."""
    sets = {name: "short" for name in values["short_sets"]}
    sets |= {name: "long CoT" for name in values["long_sets"]}
    growth, grown = values.get("growth", []), values.get("growth_sets", [])  # 04 has neither
    if min(values["n_train"], *growth, values["n_tokens"] + 1) < 1:
        raise UserError("n_train, growth or n_tokens is below its least value (1, 1 and 0)")
    if not (values["short_sets"] and values["long_sets"]):
        raise UserError("short_sets or long_sets is empty; name at least one training set in each")
    if stray := [name for name in grown if name not in sets]:
        raise UserError(f"growth_sets names {stray[0]!r}, which is in neither of the other two")
    for name in sets:
        wanted = "long" if sets[name] == "long CoT" else "short"
        if name in trainsets.known() and name not in trainsets.known(wanted):
            raise UserError(
                f"{name!r} is no {wanted} training set; use one of "
                f"{', '.join(trainsets.known(wanted))}, or a file of your own"
            )
    asked = [(name, values["n_train"]) for name in sets]
    asked += [(name, n) for n in sorted(growth) for name in grown]
    arms = []
    for seed in _seeds(values):
        for name, n in dict.fromkeys(asked):
            mixture = _mixture(values, name, n)
            arms.append(Arm(_name(mixture, values, seed), mixture, sets[name], seed))
    return arms


def safety(values: dict) -> list[Arm]:
    """Notebook 03: the long-CoT set alone, then with every amount of safety rows in both forms, and
    with the largest amount in the further forms."""
    sources = {"direct": values["direct_data"]}
    plain = _mixture(values, values["long_set"], values["n_train"])
    if not values["safety_rows"] or min(values["safety_rows"]) < 1:
        raise UserError("safety_rows holds no amount of at least 1; give the amounts to compare")
    if values["reflective_form"] == "direct":
        raise UserError("reflective_form is 'direct', what it is set against; give another form")
    amounts = sorted(values["safety_rows"])
    asked = [(form, n) for n in amounts for form in ("direct", values["reflective_form"])]
    asked += [(form, amounts[-1]) for form in values["more_forms"]]
    mixtures = [plain] + [
        _mixture(
            values, values["long_set"], values["n_train"], n_safety=n, form=form,
            safety=sources.get(form, values["reflective_data"]),
        )
        for form, n in dict.fromkeys(asked)
    ]  # fmt: skip
    names = {"direct": "direct", values["reflective_form"]: "reflective"}
    return [
        Arm(
            _name(m, values, seed), m,
            names.get(m.form, m.form) if m.n_safety else "none", seed,
        )
        for seed in _seeds(values) for m in mixtures
    ]  # fmt: skip
