"""What a notebook's parameters may be, beyond their types: said once, checked before anything runs.

    faults({"n_train": 0, "dtype": "float8"})
    ->   ["n_train is 0, give 1 or more", "dtype is 'float8', use one of auto, float32, …"]

A bound on a list holds for each of its members. What hangs on the world (a data set's rows, a
model's layers) or on two parameters at once is checked by `srlib.experiment.preflight`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from ..errors import meant

# The least value of parameters; of those in ABOVE the value itself is too little.
_LEAST = {
    0: """seed train_seeds batch_size temperature retries judge_retries n_labels safety_shots
        tune_lookalikes tune_instructions n_plain n_tokens train_micro_batch train_warmup
        train_weight_decay safe_lora resta resta_drops irr dpo_rows dpo_least dpo_benign
        dpo_micro_batch dpo_sft grpo_rows grpo_benign grpo_reasoning grpo_micro_batch""",
    1: """n_reasoning n_harmful n_benign max_new_tokens long_new_tokens concurrency
        judge_concurrency reasoning_shots tune_refusals tune_batch growth safety_at safety_rows
        n_train train_batch train_max_length lora_r lora_alpha data_rows think_times irr_rows
        dpo_batch_size grpo_batch_size grpo_max_new_tokens""",
    2: "grpo_num_generations",
}
LEAST = {name: value for value, names in _LEAST.items() for name in names.split()}
_EPOCHS = ("tune_epochs", "train_epochs", "dpo_epochs", "grpo_epochs")
_RATES = ("tune_rate", "train_rate", "dpo_rate", "grpo_rate")
ABOVE = dict.fromkeys(("timeout", "judge_timeout", "lora_layers", "dose", *_EPOCHS, *_RATES), 0)
MOST = {"seed": 2**32 - 1, "train_seeds": 2**32 - 1, "lora_layers": 1, "irr": 1}
MOST |= dict.fromkeys(_RATES, 1) | dict.fromkeys(_EPOCHS, 10_000)
BELOW = {"resta_drops": 1, "dose": 1}
WHOLE = 2**31 - 1  # the most of any other number
FORMS = ("direct", "one-line", "short", "long", "template", "task")  # of safety rows
CHOICES = {
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "backend": ("local", "server"),
    "protocol": ("ours", "lm-eval-strict", "lm-eval-flexible"),
    "layout": ("turns", "inline"),
    "dpo_form": ("direct", "long", "short"),
    "reflective_form": tuple(form for form in FORMS if form != "direct"),
    "more_forms": FORMS,
    "data_forms": FORMS,
    "over_length": ("error", "drop"),
    "train_method": ("lora", "full"),
    "train_schedule": ("cosine", "linear", "constant", "constant_with_warmup"),
    "safe_lora_mode": ("number", "threshold"),
}
NEEDED = {"train_seeds", "lora_targets"}  # lists that may not be empty
_FOLDERS = ("profile", "outputs", "model")  # texts that may not be empty


def faults(values: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with checked values, a message each."""
    for name, value in values.items():
        members = value if isinstance(value, list) else [value]
        if name in NEEDED and not members:
            yield f"{name} is empty, give at least one value"
        if twice := [m for i, m in enumerate(members) if m in members[:i]]:
            yield f"{name} holds {twice[0]!r} twice, keep one"
        yield from (fault for member in members if (fault := _fault(name, member)))
    if PurePath(folder := values.get("profile", "one")).is_absolute() or ".." in folder.split("/"):
        yield f"profile is {folder!r}, which leaves the folder `outputs`: give a plain name"


def _fault(name: str, value: Any) -> str:
    """Return what is wrong with one value of a parameter, or one member of its list; else ""."""
    if name in CHOICES and value not in CHOICES[name]:
        known = CHOICES[name]
        return f"{name} is {value!r}, use one of {', '.join(known)}{meant(str(value), known)}"
    if isinstance(value, str):
        if name in _FOLDERS and not value.strip():
            return f"{name} is empty, give a name"
        half = any("\ud800" <= character <= "\udfff" for character in value)
        return f"{name} is {value!a}, which holds half a character" if half else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    most = MOST.get(name, WHOLE)
    wrong = ""
    if name in LEAST and value < LEAST[name]:
        wrong = f"{LEAST[name]} or more"
    elif name in ABOVE and value <= ABOVE[name]:
        wrong = f"a number above {ABOVE[name]}"
    elif name in BELOW and value >= BELOW[name]:
        wrong = f"a number below {BELOW[name]}"
    elif value > most:
        wrong = f"{most} or less"
    return f"{name} is {value}, give {wrong}" if wrong else ""
