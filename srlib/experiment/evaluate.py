"""The walk of one datum: rows, a style and a model in; completions, grades and a graded table out.

Each notebook begins with `start`, which checks everything that can be checked before a model is
loaded, and then asks the returned Study for models and for graded tables:

    S = evaluate.start("01_cot_prompting", P)
    table = S.ask(S.aligned(), prompts.few_shot(4))     # one row a completion

A row of a graded table: arm, data, kind, id, label, correct, truncated, new_tokens (the contract of
`srlib.metrics`), seed (of the training), and prompt, thought, answer, reason, k, m to look at.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from .. import store, thoughts
from ..data import evalsets, mixtures, sources
from ..generation import asking, engine, prompts, replies
from ..grading import judges, offline
from ..mitigations import prompted
from ..models import loading, resident
from ..params import output_folder, place
from ..training import finetune, preference_rows, preferences
from . import arms, provenance, serving
from .preflight import preflight, safety_tuning


def start(notebook: str, parameters) -> Study:
    """Check a notebook's parameters (`params.from_notebook`) and open its run."""
    values = parameters.as_dict()
    study = Study(notebook, values, preflight(values))
    if serving.asked(values) and not values.get("completions"):
        study.serve()
    return study


class Study:
    """What a notebook works with: its evaluation rows, its models, its run folder."""

    def __init__(self, notebook: str, values: dict, rows: dict[str, list[evalsets.Row]]):
        self.values, self.rows = values, rows
        self.outputs = output_folder(values)
        self.run = provenance.Run(notebook, values, self.outputs)
        self.trained: dict[str, dict] = {}  # arm name -> the record of its training
        self._mixed: dict[mixtures.Mixture, mixtures.Built] = {}
        self._starts: dict[int, finetune.Base] = {}  # by the training's seed
        self._aligned: dict[str, dict] = {}  # name -> card
        names = ("batch_size", "temperature", "seed")
        longest = values.get("long_new_tokens") or values["max_new_tokens"]
        settings = {name: values[name] for name in names}
        settings |= {"batch_size": 0} if serving.asked(values) else {}
        self.settings = asking.Settings(max_new_tokens=longest, **settings)

    @cached_property
    def _base(self) -> loading.LM:
        lm = self.load(finetune.Base(self.values["model"]), self.values["model"])
        self.run.note(base=lm.card())
        return lm

    def base(self) -> loading.LM:
        """Return the model as it comes, before any tuning here."""
        return self._base

    def aligned(self, seed: int | None = None) -> loading.LM:
        """Return the model after a safety tuning with a seed (the first of the trainings'), made
        once; as it comes where `align` is off."""
        if not self.values["align"]:
            return self._base
        seed = self._first if seed is None else seed
        start, name = self._start(seed), self.base_name(seed)
        lm = self.load(start, name)
        self._aligned[name] = lm.card() | {"folder": start.adapters[-1].name}
        first = {"aligned": self._aligned[name]} if seed == self._first else {}
        self.run.note(**first, bases=self._aligned)
        return lm

    @property
    def _first(self) -> int:
        return arms.seeds(self.values)[0]

    @property
    def made_safe(self) -> list[str]:
        """Return the names of the aligned bases that this run has loaded."""
        return list(self._aligned)

    def base_name(self, seed: int) -> str:
        """Return the name that tables give the aligned base of a seed."""
        return f"aligned base{arms.of_seed(self.values, seed)}"

    def _start(self, seed: int) -> finetune.Base:
        """Return what arms start from: the model, with the safety tuning where `align` is on."""
        v, plain = self.values, finetune.Base(self.values["model"])
        if not v["align"]:
            return plain
        if seed not in self._starts:
            recipe = finetune.Recipe(
                epochs=v["tune_epochs"], rate=v["tune_rate"], batch_size=v["tune_batch"], seed=seed
            )
            name = f"aligned{arms.of_seed(v, seed)}"
            folder = self._train(name, plain, self.tuning(seed), recipe)
            self._starts[seed] = finetune.tuned(plain, folder, recipe)
        return self._starts[seed]

    def tuning(self, seed: int | None = None) -> list[dict]:
        """Return the training rows of the aligned base of a seed, by default the first."""
        seed = self._first if seed is None else seed
        return mixtures.aligned_rows(safety_tuning(self.values), seed)

    def _train(self, name, base, rows, recipe) -> Path:
        place = (self.run.base, self.outputs, self.values["dtype"])
        launch = self.values.get("train_launch", "")
        with self.run.spending("training"):
            folder = finetune.train(name, base, rows, recipe, *place, launch)
        store.give_back()
        return folder

    @cached_property
    def _tokenizer(self):
        return loading.tokenizer(self.values["model"], self.outputs)

    def mixed(self, arm: arms.Arm) -> mixtures.Built:
        """Return the training rows of an arm, none of which is an evaluation row."""
        if arm.mixture not in self._mixed:
            asked = [row.prompt for rows in self.rows.values() for row in rows]
            self._mixed[arm.mixture] = mixtures.build(
                arm.mixture, asked, lambda text: len(self._tokenizer(text)["input_ids"])
            )
        return self._mixed[arm.mixture]

    def safety_rows(self, n: int) -> list[dict]:
        """Return `n` harmful requests with refusals of `direct_data` as training rows, drawn by the
        seed of the first trainings."""
        v, asked = self.values, [row.prompt for rows in self.rows.values() for row in rows]
        mixture = mixtures.Mixture("", 0, v["direct_data"], n, "direct", seed=self._first)
        return mixtures.build(mixture, asked).rows

    def plan(self, wanted: list[arms.Arm]):
        """Return what arms will be trained on, a row an arm, before any is: rows, tokens, left out.

        Raises UserError where rows are longer than `train_max_length` and that is to be an error.
        """
        import pandas as pd

        table = []
        for arm in wanted:
            built, recipe = self.mixed(arm), arms.recipe(self.values, arm.seed)
            _, counts = finetune.within(arm.name, self._tokenizer, built.rows, recipe)
            why = "; ".join(f"{n} {reason}" for reason, n in built.skipped.items())
            table.append(
                {"arm": arm.name, "family": arm.family, "safety rows": arm.mixture.n_safety}
                | counts | {"left out": why or "none"}
            )  # fmt: skip
        return pd.DataFrame(table)

    def base_of(self, arm: arms.Arm | None = None, aligned: bool = True) -> finetune.Base:
        """Return what a model is made of: an arm, fine-tuned from the aligned base if it is not
        there yet; without an arm the aligned base, or the model before its safety tuning."""
        if arm is None:
            before = finetune.Base(self.values.get("unaligned_model") or self.values["model"])
            return self._start(self._first) if aligned else before
        built, recipe = self.mixed(arm), arms.recipe(self.values, arm.seed)
        start, whole = self._start(arm.seed), arms.whole(arm, self.values)
        folder = self._train(whole.name, start, built.rows, recipe)
        self._note(whole.name, folder, {"left_out": built.skipped})
        return finetune.tuned(start, finetune.part_folder(folder, arm.share), recipe)

    def preferred(self, arm: arms.Arm, method: str) -> finetune.Base:
        """Return an arm trained further by `dpo` or `grpo` (`srlib.training.preferences`), made
        once. Raises `preference_rows.TooFewPairsError` where the arm gives DPO too little to
        reject."""
        v, base, name = self.values, self.base_of(arm), preferences.name(arm.name, method)
        rows = preference_rows.rows_of(
            method, v, [r.prompt for k in self.rows for r in self.rows[k]]
        )
        details = {}
        if method == "dpo":
            file = self.run.base / "completions" / f"{store.slug(arm.name)}--to-reject.jsonl"
            lm = self.load(base, arm.name)
            with self.run.spending("answering"):
                options = {"balance": v["dpo_balance"], "least": v["dpo_least"]}
                pairs = preference_rows.pairs(rows, lm, self.settings, file, **options)
            rows, details = pairs.rows, {"kept": pairs.kept, "left_out": pairs.left_out}
        place = (self.run.base, self.outputs, v["dtype"])
        with self.run.spending("training"):
            folder = preferences.train(name, base, rows, preferences.of(v)[method], *place)
        self._note(name, folder, details)
        store.give_back()
        return finetune.tuned(base, folder, finetune.Recipe())

    def _note(self, name: str, folder: Path, told: dict) -> None:
        """Keep the record of a training, for tables and for run.json."""
        record = store.read_json(folder / "run.json")
        self.trained[name] = {k: v for k, v in record.items() if k not in ("base", "versions")}
        self.trained[name] |= {"folder": folder.name} | told
        self.run.note(arms=self.trained, data=dict(sources.revisions))

    def load(self, base: finetune.Base, name: str) -> loading.LM:
        """Load a model from what it is made of; with a server, return the one served for it."""
        if serving.asked(self.values):
            arguments = (self.values, {name: base}, self.outputs, self.run.base)
            return serving.require(*arguments)[name]
        with self.run.spending("loading"):
            return resident.lend(
                base.model, self.outputs, self.values["dtype"], base.adapters, name
            )

    def finetuned(self, arm: arms.Arm) -> loading.LM:
        """Return the model of an arm, fine-tuned from the aligned base if it is not there yet."""
        return self.load(self.base_of(arm), arm.name)

    def answer(self, arm: arms.Arm | None = None, seed: int | None = None):
        """Put every evaluation row to an arm, or to the aligned base of a seed; return a graded
        DataFrame with what the arm is (set, family, rows, share, amount, form, seed)."""
        if arm is None:
            lm, seed = self.aligned(seed), self._first if seed is None else seed
            return self.ask(lm, prompts.direct(), lm.name).assign(**arms.BASE | {"seed": seed})

        style = prompts.direct(self.mixed(arm).system)
        return self.ask(self.finetuned(arm), style, arm.name).assign(**arm.columns())

    def serve(self) -> None:
        """Make all that is to be served, the aligned base and the arms, and check that the server
        has it: UserError as `served.require` raises it, for all of them at once."""
        bases = arms.used(self.values) if self.values["align"] else []
        wanted = {self.base_name(seed): self._start(seed) for seed in bases}
        wanted |= {arm.name: self.base_of(arm) for arm in arms.of(self.values)}
        for name, folder in self.values.get("more_arms", {}).items():
            wanted[name] = finetune.Base(self.values["model"], (place(folder),))
        models_by_name = serving.require(self.values, wanted, self.outputs, self.run.base)
        self.run.note(served={name: lm.said for name, lm in models_by_name.items()})

    def losses(self):
        """Return every fine-tuned arm's training loss, a row a step: arm, step, tokens, loss."""
        import pandas as pd

        table = []
        for name, record in self.trained.items():
            if "recipe" not in record:  # preference training: its losses are of another kind
                continue
            each = record["tokens"] * record["recipe"]["epochs"] / max(1, len(record["loss"]))
            table += [
                {"arm": name, "step": i, "tokens": round(i * each), "loss": loss}
                for i, loss in enumerate(record["loss"], start=1)
            ]
        return pd.DataFrame(table, columns=["arm", "step", "tokens", "loss"])

    def reference(self, **kept):
        """Return the kept study's trainings (`reference.trainings`, which says what `kept` picks),
        to draw behind this run's points: a DataFrame; None where this run has another model or
        data, or nothing is kept."""
        from ..analysis import reference  # pandas

        same = all(self.values[name] == value for name, value in reference.MADE_WITH.items())
        return reference.trainings(**kept) if same else None

    def judge(self, rows, parts=judges.PARTS) -> dict:
        """Return what the parameters' judges say of a table's rows: judge -> `judges.grade`."""
        folder, judged = self.run.base / "judged", {}
        for judge in judges.of(self.values):
            file = folder / f"{store.slug(judge.grader)}.jsonl"
            arguments = (rows, judge, file, self.outputs, parts, self.values["dtype"])
            judged[judge.grader] = judges.grade(*arguments)
        used = {
            g: {"verdicts": len(t), "tokens": int(t["tokens"].sum())} for g, t in judged.items()
        }
        self.run.note(judged=[*self.run.facts.get("judged", []), used] if used else [])
        return judged

    def elsewhere(self, name: str):
        """Put every evaluation row to an adapter made elsewhere for `model` (see `more_arms`)."""
        folder = place(self.values["more_arms"][name])
        source = finetune.Base(self.values["model"], (folder,))
        lm = self.load(source, name)
        return self.ask(lm, prompts.direct(), name).assign(
            **arms.BASE | {"family": "elsewhere", "seed": self._first}
        )

    def mitigated(self, lm: loading.LM, mitigation: prompted.Mitigation):
        """Put every evaluation row to a model under a mitigation; return a graded DataFrame."""
        return self.ask(lm, mitigation.style, mitigation.name, mitigation=mitigation)

    def ask(
        self, lm: loading.LM, style: prompts.Style, arm: str = "", kinds=evalsets.KINDS,
        mitigation=None
    ):  # fmt: skip
        """Put every evaluation row to a model in one style; return a graded DataFrame, arm by
        default the style's name."""
        import pandas as pd

        rows = [row for kind in kinds for row in self.rows[kind]]
        requests = [asking.Request(r.id, r.data, prompts.messages(r.prompt, style)) for r in rows]
        file = f"{store.slug(lm.name)}--{store.slug(style.name)}.jsonl"
        path = self.run.base / "completions" / file
        label = f"{arm or lm.name}, {style.name}"
        with self.run.spending("answering"):
            if mitigation is None:
                records = engine.complete(lm, requests, self.settings, path, label)
            else:
                arguments = (requests, self.settings, path.parent, mitigation, label)
                records = prompted.complete(lm, *arguments)
        store.give_back()
        with self.run.spending("grading"):
            grades = offline.grade(
                rows, records, self.run.base / "grades" / file, self.values["protocol"]
            )
        table = [
            {"arm": arm or style.name, "k": style.k, "m": style.m, "seed": 0} | _graded(*parts)
            for parts in zip(rows, records, grades, strict=True)
        ]
        return self.counted(pd.DataFrame(table))

    def counted(self, graded):
        """Return the graded table; print how many of its completions have no verdict, and why, and
        keep that in run.json."""
        from ..metrics import without_verdict

        lines = [
            f"{r.arm}, {r.data}: {r.n} of {r.of} {r.label} ({r.reason})"
            for r in without_verdict(graded).itertuples()
        ]
        if new := [line for line in lines if line not in self.run.facts.get("without_verdict", [])]:
            print("\n".join(new))
            self.run.note(without_verdict=[*self.run.facts.get("without_verdict", []), *new])
        return graded


def _graded(row: evalsets.Row, record: dict, verdict: dict) -> dict:
    parts = thoughts.split(record["text"])
    return {
        **{k: v for k, v in asdict(row).items() if k in ("id", "data", "kind", "prompt", "gold")},
        "label": verdict["label"],
        "correct": verdict["correct"],
        "truncated": replies.finish(record["finish"]) == "length",
        "new_tokens": record["new_tokens"],
        "prompt_tokens": record["prompt_tokens"],
        "thought": parts.thought,
        "answer": parts.answer,
        "reason": verdict["reason"],
    }
