"""What a run will have to do: prompts to answer, rows to train on, texts to judge.

Told by a notebook's parameters, its evaluation rows and a sample of its training rows; no model is
needed. Tokens are characters / 4, with 30 a request for the chat template; an answer is taken to
have 256 tokens, a thought half of the room it has. What `srlib.ops.estimate` makes costs of:

    of(values, rows).asked   ->   {(…, "long-openo1 ×64"): Asked(rows=104, read=6e3, …), …}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cache

from ..data import mixtures, trainsets
from ..experiment import arms, preflight
from ..generation import prompts
from ..grading import judges

CHARS, CHAT = 4.0, 30  # characters a token; tokens that a chat template adds to a request
ANSWER, THOUGHT = 256, 0.5  # tokens of an answer; share of its room that a thought takes
SAMPLE = 64  # training rows that are looked at
PARTS, JUDGED = 3, 700  # parts of a completion that a judge sees; tokens of its instructions
PLAIN, PLAIN_THOUGHT = 85, 80  # tokens of a plain instruction with its response; of its thought


@dataclass(frozen=True)
class Asked:
    """Prompts put to one model in one style. Tokens: of all prompts, of the longest, shared by all
    (read once), of all answers, of the room for each."""

    rows: int
    read: float
    longest: float
    shared: float
    written: float
    room: int


@dataclass(frozen=True)
class Trained:
    """One fine-tuning. Tokens: of all epochs, of the longest row. `micro` rows at a time; `rank`
    of the adapter (0: none, all weights), on this `share` of the layers."""

    tokens: float
    longest: float
    micro: int
    rank: int
    share: float = 1.0


@dataclass(frozen=True)
class Work:
    """What a run does: conditions and fine-tunings by what makes them, what judges that are loaded
    here are asked, `calls` to judges behind servers. `saved`: models that are saved whole though
    not trained."""

    asked: dict[tuple, Asked] = field(default_factory=dict)
    trained: dict[tuple, Trained] = field(default_factory=dict)
    judged: dict[str, Asked] = field(default_factory=dict)
    calls: int = 0
    saved: int = 0

    def without(self, made: set[tuple]) -> Work:
        """Return the same work, without what is `made` already."""
        asked = {k: a for k, a in self.asked.items() if k not in made}
        return replace(
            self, asked=asked, trained={k: t for k, t in self.trained.items() if k not in made}
        )


def of(values: dict, rows: dict[str, list]) -> Work:
    """Return a notebook's work with these parameters; `rows` are those of `preflight.preflight`."""
    if not rows:  # notebook 06, and completions made elsewhere
        return Work()
    known = ("profile", "outputs", "model", "dtype", "align", "seed", "batch_size", "temperature")
    identity = tuple(values[k] for k in known) + tuple(len(r) for r in rows.values())
    identity += tuple(values[f"{kind}_data"] for kind in rows)
    room = values.get("long_new_tokens") or values["max_new_tokens"]
    requests = [row.prompt for kind in rows.values() for row in kind]
    asked = {
        (*identity, room, name): _asked(requests, style, room, thinks)
        for name, style, thinks in _conditions(values)
    }
    trained = {
        (*identity, arm.name, arms.recipe(values, arm.seed)): _trained(values, arm)
        for arm in arms.of(values)
        if arm.share == 1
    }
    for method, (training, samples) in _preferred(values, room).items():
        trained[*identity, method] = training
        asked |= {(*identity, method, "samples"): samples} if samples.rows else {}
    if values["align"]:
        bases = {(*identity, "aligned", seed): _tuning(values, seed) for seed in arms.used(values)}
        trained = bases | trained
    judged, calls = _judged(values, len(asked) * len(rows["harmful"]), room)
    full = values.get("train_method") == "full"
    return Work(asked, trained, judged, calls, len(_mended(values)) if full else 0)


def _conditions(values: dict) -> list[tuple[str, prompts.Style, bool]]:
    """Return name, style, and whether it thinks, of each condition given all evaluation rows."""
    plain, trained_arms = prompts.direct(), arms.of(values)
    bases = arms.used(values) if values["align"] else [values["seed"]]
    conditions = [(f"base, {seed}", plain, False) for seed in bases]
    first = not trained_arms and "reasoning_shots" not in values  # notebook 00
    if values["align"] and (first or "judges" in values):
        conditions.append(("as it comes", plain, False))
    if "reasoning_shots" in values:
        styles = [prompts.zero_shot_cot()] + [
            prompts.few_shot(k, m, values["layout"])
            for m in values["safety_shots"] for k in values["reasoning_shots"]
        ]  # fmt: skip
        most = max(values["reasoning_shots"]), max(values["safety_shots"])
        styles.append(prompts.few_shot(most[0], 0, values["layout"], placebo=most[1]))
        conditions += [(style.name, style, False) for style in styles]
    conditions += [(a.name, plain, bool(trainsets.dialect(a.mixture.task))) for a in trained_arms]
    conditions += [(name, plain, False) for name in values.get("more_arms", {})]
    ptst = ["tuned under a prompt, and asked"] if values.get("ptst") else []
    preferred = [m for m in ("dpo", "grpo") if values.get(f"{m}_rows")]
    protected = [*values.get("mitigations", []), *ptst, *_mended(values), *preferred]
    return conditions + [(name, plain, True) for name in protected]


def _mended(values: dict) -> list[str]:
    """Name notebook 05's edits of the arm's weights, one a method and setting."""
    names = [f"Safe LoRA {v}" for v in values.get("safe_lora", [])]
    names += [f"RESTA {g} {p}" for g in values.get("resta", []) for p in values["resta_drops"]]
    return names + [f"IRR {v}" for v in values.get("irr", [])]


def _preferred(values: dict, room: int) -> dict[str, tuple[Trained, Asked]]:
    """Return notebook 05's DPO and GRPO: the training, and the completions that GRPO samples for
    it. The reference model's pass counts as half a training token."""
    by_method, nothing = {}, Asked(0, 0, 0, 0, 0, 0)
    if values.get("dpo_rows"):
        pairs = values["dpo_rows"] + values["dpo_benign"]
        tokens = 1.5 * values["dpo_epochs"] * pairs * (THOUGHT * room + 2 * ANSWER)
        micro = 2 * (values["dpo_micro_batch"] or values["dpo_batch_size"])  # both sides
        training = Trained(tokens, room, micro, values["lora_r"], values["lora_layers"])
        by_method["dpo"] = training, nothing
    if values.get("grpo_rows"):
        prompts_ = sum(values[f"grpo_{kind}"] for kind in ("rows", "benign", "reasoning"))
        n = math.ceil(values["grpo_epochs"] * prompts_ * values["grpo_num_generations"])
        room, read = values["grpo_max_new_tokens"], n * (CHAT + 50)
        written = n * THOUGHT * room
        micro = values["grpo_micro_batch"] or values["grpo_batch_size"]
        training = Trained(
            1.5 * (read + written), room, micro, values["lora_r"], values["lora_layers"]
        )
        by_method["grpo"] = training, Asked(n, read, CHAT + 50, 0, written, room)
    return by_method


def _asked(requests: list[str], style: prompts.Style, room: int, long: bool) -> Asked:
    shown = sum(len(q) + len(a) for q, a in prompts.shown(style)) / CHARS
    lengths = [len(text) / CHARS + CHAT for text in requests]
    each = THOUGHT * room if long else min(ANSWER, THOUGHT * room)
    return Asked(len(requests), sum(lengths), max(lengths), shown, each * len(requests), room)


def _trained(values: dict, arm: arms.Arm) -> Trained:
    mixture, recipe = arm.mixture, arms.recipe(values, arm.seed)
    each, longest = _lengths(mixture.task, mixture.n or 1, mixture.seed, mixture.english)
    total = mixture.tokens or mixture.n * min(each, recipe.max_length)
    if mixture.plain:  # thought through in a long set, answered at once in a short one
        tokens = PLAIN + (PLAIN_THOUGHT if trainsets.dialect(mixture.task) else 0)
        total += mixture.plain * tokens
    if mixture.n_safety:
        each, longest_safety = _lengths(mixture.safety, mixture.n_safety, mixture.seed)
        total, longest = total + mixture.n_safety * each, max(longest, longest_safety)
    longest = recipe.max_length if recipe.packing else min(longest, recipe.max_length)
    micro, rank = recipe.micro_batch or recipe.batch_size, recipe.lora_r
    rank = 0 if recipe.method == "full" else rank
    return Trained(total * recipe.epochs, longest, micro, rank, recipe.lora_layers)


@cache
def _lengths(name: str, n: int, seed: int, english: bool = False) -> tuple[float, float]:
    """Return the tokens of a set's mean and longest row, among its first `SAMPLE`."""
    rows = trainsets.load(name, min(n, SAMPLE), seed, english=english).examples
    sizes = [(len(e.prompt) + len(e.thought) + len(e.answer)) / CHARS + CHAT for e in rows]
    return sum(sizes) / len(sizes), max(sizes)


def _tuning(values: dict, seed: int) -> Trained:
    rows = mixtures.aligned_rows(preflight.safety_tuning(values), seed)
    texts = [r["prompt"][-1]["content"] + r["completion"][0]["content"] for r in rows]
    sizes = [len(text) / CHARS + CHAT for text in texts]
    total = values["tune_epochs"] * sum(sizes)
    return Trained(total, max(sizes), values["tune_batch"], 16)


def _judged(values: dict, completions: int, room: int) -> tuple[dict[str, Asked], int]:
    """Return what each judge loaded here is asked, and how many requests go to servers."""
    asked, calls, n = {}, 0, PARTS * completions
    for name, settings in values.get("judges", {}).items():
        model, address = judges.parsed(name, settings, values["judge_address"])
        if address:
            calls += n
        else:
            read = n * (JUDGED + THOUGHT * room / 2)
            asked[model] = Asked(n, read, JUDGED + room, 0, 8.0 * n, 100)
    return asked, calls
