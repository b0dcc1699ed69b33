"""How far to trust the offline graders: on babble, on answers to something else, on labelled texts.

    SRLIB_DATA_DIR=data python benchmarks/graders.py --json graders.json

Sections, each for what is there: `babble` and `other` (texts made here or other prompts' answers,
put before harmful requests: the share called compliance should be 0), `labels` (people and judges,
see srlib.grading.agreement), `ranking` (attack success by our grader beside the judge's), `gsm8k`
(recorded outputs by three ways to read an answer, beside the published score), `speed`. Rates carry
n and a 95 % interval. No text of a harmful request or an answer is ever printed.
"""

from __future__ import annotations

import json
import random
import re
import string
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import common
import pandas as pd
import typer

from srlib import answers, metrics, refusals
from srlib.base import resources
from srlib.data import sources, wordproblems
from srlib.errors import UserError
from srlib.grading import agreement
from srlib.text import surprise

OTHERS = ("incoherent", "off_topic", "refusal", "partial_refusal", "unscored")
# Accuracy as scored by those who recorded the outputs (the note beside the recordings).
PUBLISHED = {
    "meta-llama/Llama-3.1-8B": 0.394, "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": 0.838,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 0.808,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": 0.948,
}  # fmt: skip


def babble(each: int) -> dict[str, list[str]]:
    """`each` texts of 20–200 words a kind (cut tags: 1–12 tags), the same every time."""
    from pydoc_data import topics

    plain = " ".join(_embedded("instructions")).lower()
    counts = Counter(re.findall(r"[a-z]+", plain))
    common_words = [word for word, _ in counts.most_common(300)]
    manual = re.findall(r"[a-z]{3,}", " ".join(topics.topics.values()).lower())
    every = sorted({*counts, *manual})
    tags = "</Output <Output </think <think <|im_end <|im_start </s <|endoftext </Thought"
    tags = [*tags.split(), "<|end_of_solution|", "</Output>", "<|begin_of_solution"]

    def signs(rng, n, alphabet):
        sizes = [rng.randint(2, 9) for _ in range(n)]
        return " ".join("".join(rng.choices(alphabet, k=size)) for size in sizes)

    def loop(rng, n):
        phrase = " ".join(rng.choices(common_words, k=rng.randint(1, 8)))
        return " ".join((f"{phrase} " * n).split()[:n])

    def salad(words):
        return lambda rng, n: " ".join(rng.choices(words, k=n)).capitalize() + "."

    kinds = {
        "salad of common words": salad(common_words),
        "salad of any words": salad(every),
        "salad with commas, stops": lambda rng, n: " ".join(
            w + rng.choices(["", ",", "."], [8, 1, 1])[0] for w in rng.choices(every, k=n)
        ),
        "random letters": lambda rng, n: signs(rng, n, string.ascii_lowercase),
        "random characters": lambda rng, n: signs(rng, n, string.printable[:94]),
        "random bytes": lambda rng, n: rng.randbytes(5 * n).decode("latin-1"),
        "loops": loop,
        "cut tags": lambda rng, n: rng.choice([" ", "\n", ""]).join(
            rng.choices(tags, k=rng.randint(1, 12))
        ),
    }
    made = {}
    for kind, make in kinds.items():
        rng = random.Random(kind)
        made[kind] = [make(rng, rng.randint(20, 200)) for _ in range(each)]
    return made


def untrained(each: int) -> dict[str, list[str]]:
    """What the embedded model says with random weights: sampled, and greedily."""
    import torch
    from transformers import AutoModelForCausalLM

    from srlib.models import loading

    lm = loading.load(common.MODEL, common.ROOT / "outputs", "float32")
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(lm.model.config).eval()
    made = {}
    for kind, n, settings in (
        ("untrained model, sampled", each, {"do_sample": True, "temperature": 1.0, "top_k": 0}),
        ("untrained model, greedy", min(each, 32), {"do_sample": False}),
    ):
        prompts = [lm.tokenizer.encode(prompt)[:8] for prompt in _requests(n)]
        ids = torch.tensor([(p * 8)[:8] for p in prompts])
        with torch.inference_mode():
            out = net.generate(ids, max_new_tokens=100, pad_token_id=0, **settings)
        made[kind] = lm.tokenizer.batch_decode(out[:, 8:], skip_special_tokens=True)
    return made


def other(each: int) -> dict[str, list[str]]:
    """Answers of other prompts: embedded ones, and published ones where the mirror has them."""
    problems = wordproblems.make(each, 0, "eval")
    made = {f"{n} answers": _embedded(n)[:each] for n in ("instructions", "code", "lookalikes")}
    made |= {
        "word problems, short": [p.short for p in problems],
        "word problems, thought and answer": [f"{p.thought}\n\n{p.final}" for p in problems],
        "word problems, thought alone": [p.thought for p in problems],
    }
    folder = sources.mirror()
    for name, column in (
        ("tatsu-lab__alpaca", "output"), ("openai__gsm8k", "answer"),
        ("sahil2801__CodeAlpaca-20k", "output"), ("HuggingFaceH4__MATH-500", "solution"),
    ):  # fmt: skip
        files = sorted((folder / name).glob("*.jsonl")) if folder else []
        texts = [r[column] for file in files[:1] for r in sources.read_file(file) if r.get(column)]
        if texts:
            made[name.replace("__", "/")] = random.Random(name).sample(texts, min(each, len(texts)))
    return made


def _embedded(name: str) -> list[str]:
    return [r["response"] for r in resources.embedded(f"{name}.jsonl") if r.get("response")]


def _requests(n: int) -> list[str]:
    harmful = [r["prompt"] for r in resources.embedded("harmful.jsonl")]
    order = random.Random(0).sample(harmful, len(harmful))
    return [order[i % len(order)] for i in range(n)]


def shares(kinds: dict[str, list[str]]) -> pd.DataFrame:
    """A row a kind of text put before harmful requests: share called compliance, other labels."""
    rows, total = [], Counter()
    for kind, texts in (kinds | {"all": None}).items():
        counts = total
        if texts is not None:
            pairs = zip(_requests(len(texts)), texts, strict=True)
            counts = Counter(refusals.classify(*pair) or "unscored" for pair in pairs)
            total = total + counts
        share = metrics.rate(counts["compliance"], counts.total())
        row = {"texts": kind, "n": share.n, "compliance": share.value, "low": share.low}
        rows.append(row | {"high": share.high} | {name: counts[name] for name in OTHERS})
    return pd.DataFrame(rows)


def labels(files: list[str]) -> dict[str, pd.DataFrame]:
    """Agreement by set and model, and pooled; `ranking`: attack success beside a judge's."""
    rows = agreement.graded(agreement.load([str(Path(file).resolve()) for file in files]))
    several = rows.groupby("data")["model"].transform("nunique") > 1
    pooled = rows[several].assign(model="all", seen="")
    table = [agreement.table(r) for r in (rows, pooled)]
    judged = rows[rows["data"] == "lrm_strongreject"]
    whole = {
        (r["arm"], str(r["id"])): re.sub("</?think>", "", r["thought"]) + "\n\n" + r["completion"]
        for r in _recorded("lrm_strongreject")
    }
    texts = [whole[key] for key in zip(judged["model"], judged["id"], strict=True)]
    joined = agreement.graded(judged.assign(completion=texts, data="the same, thought + answer"))
    table += [agreement.table(r) for r in (joined, joined.assign(model="all", seen="")) if len(r)]
    return {"labels": pd.concat(table, ignore_index=True), "ranking": _ranking(judged)}


def _ranking(judged: pd.DataFrame) -> pd.DataFrame:
    table = []
    for model, group in judged.groupby("model"):
        ours = metrics.rate(int((group["verdict"] == "compliance").sum()), len(group))
        judge = metrics.rate(int(group["truth"].sum()), len(group))
        row = {"model": model, "n": ours.n, "ours": ours.value, "low": ours.low, "high": ours.high}
        row |= {"judge": judge.value, "judge_low": judge.low, "judge_high": judge.high}
        table.append(row)
    for side in ("ours", "judge"):
        for row in table:
            row[f"rank_{side}"] = 1 + sum(other[side] > row[side] for other in table)
    return pd.DataFrame(table)


def _recorded(name: str) -> list[dict]:
    folder = sources.mirror()
    files = sorted((folder / name).glob("*.jsonl")) if folder else []
    return [row for file in files for row in sources.read_file(file)]


def gsm8k() -> pd.DataFrame:
    """Accuracy of recorded GSM8K outputs by each way to read an answer, and as published."""
    table, records = [], pd.DataFrame(_recorded("recorded_gsm8k"))
    for arm, rows in records.groupby("arm") if len(records) else ():
        for protocol in answers.PROTOCOLS:
            pairs = zip(rows["completion"], rows["gold"], strict=True)
            right = metrics.rate(sum(answers.exact_match(*p, protocol) for p in pairs), len(rows))
            row = {"model": arm, "protocol": protocol, "n": right.n, "accuracy": right.value}
            row |= {"low": right.low, "high": right.high, "published": PUBLISHED.get(arm)}
            table.append(row | {"difference": right.value - PUBLISHED.get(arm, float("nan"))})
    return pd.DataFrame(table)


def speed(each: int) -> pd.DataFrame:
    """Completions graded per second of one core, and seconds for 2,400; what is read once apart."""
    rows = _recorded("lrm_strongreject")
    texts = [(r["prompt"], f"<think>{r['thought']}</think>{r['completion']}") for r in rows]
    if not texts:
        problems = wordproblems.make(each, 0, "eval")
        texts = [(p.question, wordproblems.long_solution(p)) for p in problems]
    first = time.process_time()
    surprise.alone("The model is read once, whatever the number of texts.")
    refusals.classify(*texts[0])
    began = time.process_time()
    for prompt, text in texts:
        refusals.classify(prompt, text)
    took = time.process_time() - began
    row = {"n": len(texts), "words": sum(len(t.split()) for _, t in texts) // len(texts)}
    row |= {"a_second": len(texts) / took, "seconds_for_2400": 2400 * took / len(texts)}
    return pd.DataFrame([row | {"seconds_to_begin": began - first}])


def main(
    only: Annotated[str, typer.Option(help="babble,other,labels,gsm8k,speed")] = "",
    with_labels: Annotated[list[str] | None, typer.Option("--labelled", help="your files")] = None,
    each: Annotated[int, typer.Option(help="texts a kind of babble or other answers")] = 200,
    model: Annotated[bool, typer.Option(help="also text of a model with random weights")] = False,
    json_file: Annotated[str, typer.Option("--json", help="write all tables there")] = "",
    csv_file: Annotated[str, typer.Option("--csv", help="write all rows there")] = "",
):
    """Print how far the graders hold, for whatever is there; nothing harmful is printed."""
    makers = {
        "babble": lambda: {"babble": shares(babble(each) | (untrained(each) if model else {}))},
        "other": lambda: {"other": shares(other(each))},
        "labels": lambda: labels(with_labels or []),
        "gsm8k": lambda: {"gsm8k": gsm8k()},
        "speed": lambda: {"speed": speed(each)},
    }
    wanted = only.split(",") if only else list(makers)
    if odd := [name for name in wanted if name not in makers]:
        raise UserError(f"section {odd[0]!r} is unknown; use {', '.join(makers)}")
    tables: dict[str, pd.DataFrame] = {}
    for name in wanted:
        for section, rows in makers[name]().items():
            tables[section] = rows
            text = rows.to_string(index=False, na_rep="-", float_format="{:.3f}".format)
            print(f"\n{section}\n{text if len(rows) else 'nothing there'}", flush=True)
    if json_file:
        found = {name: json.loads(t.to_json(orient="records")) for name, t in tables.items()}
        Path(json_file).write_text(json.dumps(found, indent=1) + "\n")
    if csv_file:
        whole = [rows.assign(section=name) for name, rows in tables.items() if len(rows)]
        pd.concat(whole, ignore_index=True).to_csv(csv_file, index=False)


if __name__ == "__main__":
    common.run(main)
