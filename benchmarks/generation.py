"""The evaluation grid's few-shot cell, ours beside lm-evaluation-harness and plain `generate`.

    python benchmarks/generation.py --questions 48 --repeats 5

Three sides answer the same word problems after the same eight demonstrations, greedily, with the
same model, precision, batch size and limit of new tokens:

- lm-eval: lm-evaluation-harness with its `hf` model, on a task made here (a YAML file, the
  prompts as a JSON data set), so no hub is asked; in an environment of its own (`make bench`);
- generate: transformers' `generate`, prompts sorted by length and padded on the left;
- ours: `srlib.generation.engine.complete`, the only way a completion is made in this project.

Timed is the work on the prompts: loading the model, building lm-eval's data set and its scores are
not. All texts are scored by `srlib.answers`. Beside it stands what this machine could do at best
(`ceiling.py`). Tokens are new tokens of the completions as they are kept, up to their end.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import common
import yaml

from srlib import answers
from srlib.data import evalsets
from srlib.errors import UserError
from srlib.generation import asking, engine, prompts
from srlib.models import loading

SIDES = ("ours", "generate", "lm-eval")
TASK = "srlib_wordproblems"
LM_EVAL = common.ROOT / ".venv-bench" / "bin" / "python"


def asked(name: str, questions: int, shots: int):
    """The rows of a reasoning set, and the requests that put them under the demonstrations."""
    rows = evalsets.load(name, "reasoning", questions)
    style = prompts.few_shot(shots) if shots else prompts.direct()
    messages = [prompts.messages(row.prompt, style) for row in rows]
    return rows, [asking.Request(r.id, r.data, m) for r, m in zip(rows, messages, strict=True)]


def ours(requests, settings, dtype: str, scratch: Path) -> tuple[float, list[str]]:
    lm = loading.load(common.MODEL, common.ROOT / "outputs", dtype)
    began = time.perf_counter()
    records = engine.complete(lm, requests, settings, scratch / "completions.jsonl")
    return time.perf_counter() - began, [r["text"] for r in records]


def generate(requests, settings, dtype: str, scratch: Path) -> tuple[float, list[str]]:
    lm = loading.load(common.MODEL, common.ROOT / "outputs", dtype)
    chat = {"tokenize": False, "add_generation_prompt": True}
    texts: list[str] = [""] * len(requests)
    began = time.perf_counter()
    whole = [lm.tokenizer.apply_chat_template(r.messages, **chat) for r in requests]
    lengths = [len(ids) for ids in lm.tokenizer(whole)["input_ids"]]
    for batch in engine.plan(lengths, settings.batch_size):
        padded = lm.tokenizer(
            [whole[i] for i in batch], return_tensors="pt", padding=True, add_special_tokens=False
        ).to(lm.device)
        out = lm.model.generate(**padded, max_new_tokens=settings.max_new_tokens, do_sample=False)
        new = out[:, padded["input_ids"].shape[1] :]
        said = lm.tokenizer.batch_decode(new, skip_special_tokens=True)
        for i, text in zip(batch, said, strict=True):
            texts[i] = text.strip()
    return time.perf_counter() - began, texts


def lm_eval(requests, settings, dtype: str, scratch: Path) -> tuple[float, list[str]]:
    import lm_eval as harness
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    words = loading.tokenizer(common.MODEL, common.ROOT / "outputs")
    chat = {"tokenize": False, "add_generation_prompt": True}
    rows = [{"prompt": words.apply_chat_template(r.messages, **chat)} for r in requests]
    (scratch / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": TASK, "dataset_path": "json", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(scratch / "rows.jsonl")}},
        "output_type": "generate_until", "doc_to_text": "{{prompt}}", "doc_to_target": "",
        "generation_kwargs": {
            "until": settings.stop or [words.eos_token], "do_sample": False,
            "max_gen_toks": settings.max_new_tokens,
        },
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    (scratch / "task.yaml").write_text(yaml.safe_dump(task))
    folder = loading.resolve(common.MODEL, common.ROOT / "outputs")[0]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lm = HFLM(pretrained=folder, dtype=dtype, batch_size=settings.batch_size, device=device)
    usual, took = lm.generate_until, []

    def timed(*told, **more):
        began = time.perf_counter()
        found = usual(*told, **more)
        took.append(time.perf_counter() - began)
        return found

    lm.generate_until = timed
    known = TaskManager(include_path=str(scratch), include_defaults=False)
    found = harness.simple_evaluate(lm, tasks=[TASK], task_manager=known, bootstrap_iters=0)
    samples = sorted(found["samples"][TASK], key=lambda sample: sample["doc_id"])
    return sum(took), [sample["resps"][0][0].strip() for sample in samples]


def one(side: str, rows: list[evalsets.Row], requests, settings, dtype: str) -> None:
    """Run one side once and tell what it took."""
    answer = {"ours": ours, "generate": generate, "lm-eval": lm_eval}[side]
    with tempfile.TemporaryDirectory() as scratch:
        seconds, texts = answer(requests, settings, dtype, Path(scratch))
    words = loading.tokenizer(common.MODEL, common.ROOT / "outputs")
    right = sum(answers.exact_match(t, r.gold) for t, r in zip(texts, rows, strict=True))
    tokens = sum(len(ids) + 1 for ids in words(texts, add_special_tokens=False)["input_ids"])
    common.told(
        seconds=seconds, tokens=tokens, right=right, exact_match=round(right / len(rows), 3),
        texts=texts,
    )  # fmt: skip


def _checked(wanted: list[str], lm_eval_python: Path) -> list[str]:
    if unknown := set(wanted) - set(SIDES):
        raise UserError(f"side {min(unknown)!r} is unknown; use {', '.join(SIDES)}")
    if "lm-eval" in wanted and not lm_eval_python.exists():
        raise UserError(
            f"{lm_eval_python} is not there: `make bench` installs lm-evaluation-harness, or leave "
            "it out with --sides ours,generate"
        )
    return wanted


def _agreeing(found: dict[str, list[dict]], questions: int) -> None:
    """Notes with every result how many of its texts are the last ones of the first side."""
    first = next(iter(found.values()))[-1]["texts"]
    for result in [result for results in found.values() for result in results]:
        same = sum(a == b for a, b in zip(result["texts"], first, strict=True))
        result["same_texts"] = f"{same}/{questions}"


def _of_ours(runs: list[dict], share: float) -> str:
    again = len({tuple(run["texts"]) for run in runs}) == 1
    same = f"Its {len(runs)} runs gave {'the same' if again else 'DIFFERENT'} texts."
    return f" Ours takes {1 / share:.1f} times as long, {share:.0%} of the ceiling. {same}"


def main(
    questions: int = 48, shots: int = 8, limit: int = 64, batch: int = 48, repeats: int = 5,
    name: str = "wordproblems-short", dtype: str = "auto", sides: str = ",".join(SIDES),
    out: Path = common.OUT, lm_eval_python: Path = LM_EVAL, side: str = "",
):  # fmt: skip
    """Answer word problems on every side in turn; write generation.csv, .md and .png to `out`."""
    dtype = loading.pick_dtype(dtype)
    settings = asking.Settings(max_new_tokens=limit, batch_size=batch)
    if side:
        one(side, *asked(name, questions, shots), settings, dtype)
        return
    wanted = _checked(sides.split(","), lm_eval_python)
    loading.tokenizer(common.MODEL, common.ROOT / "outputs")  # unpacks the weights, once
    told = ["--questions", questions, "--shots", shots, "--limit", limit, "--batch", batch]
    told += ["--name", name]

    def measure(side: str, dtype: str = dtype) -> dict:
        python = lm_eval_python if side == "lm-eval" else sys.executable
        return common.alone(__file__, [*told, "--dtype", dtype, "--side", side], python)

    found = common.in_turn(wanted, repeats, measure)
    _agreeing(found, questions)
    rows = common.table(found, "tokens", ["exact_match", "same_texts"])
    best = common.alone(str(Path(__file__).with_name("ceiling.py")), [*told, "--dtype", dtype])
    note = (
        f"{questions} word problems ({name}), {shots} demonstrations, at most {limit} new tokens, "
        f"batch {batch}, greedy. {best['words']}"
    )
    if "ours" in found:
        note += _of_ours(found["ours"], best["seconds"] / rows["seconds"][wanted.index("ours")])
        if dtype != "float32":
            exact = measure("ours", "float32")["exact_match"]
            note += f" In float32 exact match is {exact}, {found['ours'][-1]['exact_match']} here."
    common.write(out, "generation", rows, note, dtype)
    if "ours" in found:
        what = f"{questions} word problems, {shots} demonstrations, batch {batch}, {dtype}"
        common.draw(out, "generation", "The same completions, three ways", rows, what)


if __name__ == "__main__":
    common.run(main)
