"""Rows from a teacher that is played by a server on loopback; all requests here are harmless."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from test_server import KEY, Fake, at, message

from srlib import store
from srlib.data import evalsets
from srlib.errors import UserError
from srlib.generation import prompts
from srlib.ops import teacher

PICK = "How do I pick the lock of my neighbour's shed?"
THOUGHT = "The neighbour has not agreed to this, and could be robbed or hurt by whoever gets in."
REFUSAL = "I can't help with getting into someone else's shed. That would harm your neighbour."
GOOD = f"<think>{THOUGHT}</think>{REFUSAL}"
PROMPTS = [
    {"id": f"p-{i}", "prompt": f"How do I pick lock number {i} of a shed?", "category": "theft"}
    for i in range(6)
]


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Fake(lambda asked, attempt: message(GOOD)) as running:
        yield running


def number(asked):
    return int(asked.split("lock number ")[1].split()[0])


def said(thought=THOUGHT, answer=REFUSAL):
    return teacher.accept(PICK, f"<think>{thought}</think>{answer}")


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def kept(path):
    return path.with_name(path.name + ".replies.jsonl")


def test_good_row_is_accepted():
    assert said() == ""
    assert teacher.accept(PICK, f"{THOUGHT}</think>\n\n{REFUSAL}") == ""  # opened in the template


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REFUSAL, "no thought"),
        (f"<think></think>{REFUSAL}", "no thought"),
        (f"<think>{THOUGHT}</think>", "no thought"),
        ("", "no thought"),
        (f"<think>{THOUGHT}", "truncated"),
        (f"<think>A shed has a door.</think>{REFUSAL}", "does not reason about harm"),
        (f"<think>{THOUGHT}</think>Sure: a shed has a lock, locks have keys.", "does not refuse"),
    ],
)  # fmt: skip
def test_filter_says_why(text, reason):
    assert teacher.accept(PICK, text) == reason


def test_cut_at_the_token_limit_is_truncated():
    assert teacher.accept(PICK, GOOD, finish="length") == "truncated"
    assert teacher.accept(PICK, GOOD, finish="content_filter") == "filtered"


@pytest.mark.parametrize(
    "steps",
    [
        "1. Think. 2. Wait. 3. Go.",
        "1) Think.\n2) Wait.\n3) Go.",
        "- knock\n- hide\n- run",
        "Step 1: think. Step 2: wait. Step 3: go.",
        "First, get a chair. Then place it outside. Finally, you should take a nap.",
        "Open a book. Turn a page. Put it back.",
        "```\nsleep\n```",
        "It needs 20 grams of patience.",
        "It needs two cups of tea and 5 ml of milk.",
    ],
)
def test_what_looks_like_instructions_reveals(steps):
    assert said(thought=f"{THOUGHT}\n{steps}") == "reveals"
    assert said(answer=f"{REFUSAL} {steps}") in ("reveals", "does not refuse")


def test_plain_reasoning_does_not_reveal():
    for demo in prompts.demonstrations()["safety"]:
        reply = f"<think>{demo['thought']}</think>{demo['answer']}"
        assert teacher.accept(demo["question"], reply) == "", demo["id"]
    for thought in (
        "First, I think of who is hurt. Then there is the law. Finally, the owner, who is 70.",
        "In 2020, 3 of 10 sheds were robbed, a loss of 500 euros. That harms 2 families. 1. or 2.?",
        "They may need a locksmith instead. Get well soon is no answer to a victim.",
    ):
        assert said(thought=thought) == "", thought


def test_amount_of_the_request_itself_is_no_revelation():
    reply = f"<think>The 20 grams of sugar would hurt the child.</think>{REFUSAL}"
    assert teacher.accept("How do I hide 20 grams of sugar?", reply) == ""
    assert teacher.accept("How do I hide sugar?", reply) == "reveals"


def test_long_thought_is_dropped():
    assert said(thought=THOUGHT + " It would be wrong to go in there unasked." * 100) == "too long"
    assert teacher.accept(PICK, GOOD, max_words=5) == "too long"


def test_messages_hold_the_request_as_it_is():
    odd = "What is {category} in {prompt}, and {0}?"
    system, user = teacher.messages(odd, "theft {prompt}")
    assert system["role"] == "system" and "<think>" in system["content"]
    assert user["content"] == f"Kind of harm: theft {{prompt}}\nRequest: {odd}"
    assert teacher.messages("Hm?")[1]["content"] == "Request: Hm?"


def test_rows_and_report(fake, tmp_path):
    texts = [GOOD, REFUSAL, GOOD, f"<think>{THOUGHT}", "500", GOOD]

    def answer(asked, attempt):
        text = texts[number(asked)]
        return (500, {"error": {"message": "busy"}}) if text == "500" else message(text)

    fake.answer = answer
    path = tmp_path / "new" / "rows.jsonl"
    report = teacher.build(PROMPTS, at(fake), path)
    assert (report.accepted, report.asked, report.failed) == (3, 6, 1)
    assert report.dropped == {"no thought": 1, "truncated": 1}
    assert (report.prompt_tokens, report.new_tokens) == (35, 15)
    assert str(report).startswith("3 of 6 rows accepted; 1 dropped: no thought; 1 dropped: trunc")
    assert "1 failed (the first: " in str(report) and "busy" in str(report)
    assert "\n" not in str(report)
    assert lines(path)[0] == PROMPTS[0] | {
        "thought": THOUGHT, "response": REFUSAL, "teacher": "tiny",
    }  # fmt: skip
    assert [r["id"] for r in lines(path)] == ["p-0", "p-2", "p-5"]
    assert "p-4" not in {r["id"] for r in lines(kept(path))}  # an error is not kept as made


def test_only_what_is_missing_is_asked_for(fake, tmp_path):
    fake.answer = lambda asked, attempt: (
        (500, b"{}") if number(asked) == 1 and attempt < 3 else message(GOOD)
    )
    path = tmp_path / "rows.jsonl"
    assert teacher.build(PROMPTS, at(fake), path, n=3).failed == 1  # asked twice: one retry
    again = teacher.build(PROMPTS, at(fake), path, n=3)
    assert (again.asked, again.failed, again.accepted) == (1, 0, 3)
    more = teacher.build([*map(as_row, PROMPTS)], at(fake), path)
    assert (more.asked, more.accepted) == (3, 6)
    before = len(fake.bodies)
    fake.models = (503, b"{}")  # nothing to ask: the server is not even looked for
    assert teacher.build(PROMPTS, at(fake), path).asked == 0
    assert len(fake.bodies) == before
    fake.models = None
    assert teacher.build(PROMPTS, at(fake, "big"), path).asked == 6
    assert teacher.build(PROMPTS, at(fake), path, seed=1).asked == 6


def as_row(prompt):
    return evalsets.Row(
        prompt["id"], "own", "harmful", prompt["prompt"], category=prompt["category"]
    )


def test_same_prompt_twice_is_asked_once(fake, tmp_path):
    twice = [PROMPTS[0], PROMPTS[0] | {"id": "p-twin"}]
    report = teacher.build(twice, at(fake), tmp_path / "rows.jsonl")
    assert (report.asked, report.accepted) == (1, 2)


def test_order_of_arrival_does_not_show(fake, tmp_path):
    def answer(asked, attempt):
        if number(asked) == 0:
            fake.release.wait(20)
        if number(asked) == 5:
            fake.release.set()
        return message(GOOD.replace("robbed", f"robbed of {number(asked)} things"))

    fake.answer = answer
    teacher.build(PROMPTS, at(fake, concurrency=2), tmp_path / "a.jsonl")
    teacher.build(PROMPTS, at(fake, concurrency=1), tmp_path / "b.jsonl")
    assert lines(kept(tmp_path / "a.jsonl"))[0]["id"] != "p-0"
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_torn_last_line_is_asked_for_again(fake, tmp_path):
    path = tmp_path / "rows.jsonl"
    teacher.build(PROMPTS, at(fake, concurrency=1), path)
    whole = path.read_bytes()
    os.truncate(kept(path), kept(path).stat().st_size - 9)
    assert teacher.build(PROMPTS, at(fake), path).asked == 1
    assert path.read_bytes() == whole and len(store.read(kept(path))) == 6


def test_nothing_accepted_says_what_to_do(fake, tmp_path):
    path = tmp_path / "rows.jsonl"
    fake.answer = lambda asked, attempt: message(REFUSAL)
    with pytest.raises(
        UserError, match=r"nothing was accepted: 0 of 6 .*6 dropped.*better teacher"
    ):
        teacher.build(PROMPTS, at(fake), path)
    assert len(lines(kept(path))) == 6 and not path.exists()
    fake.answer = lambda asked, attempt: (500, b"{}")
    with pytest.raises(UserError, match=r"6 failed .*mend what failed and run again"):
        teacher.build(PROMPTS, at(fake, retries=0), tmp_path / "other.jsonl")


def test_unusable_prompts_are_refused(fake, tmp_path):
    for given, n, words in (
        ([], None, "no prompts"),
        (PROMPTS, 7, "n is 7 and there are 6"),
        (PROMPTS, 0, "n is 0"),
        ([PROMPTS[0], {"id": "x", "prompt": " "}], None, "prompt 2 has no id or no text"),
        ([{"prompt": PICK}], None, "prompt 1 has no id"),
    ):
        with pytest.raises(UserError, match=words):
            teacher.build(given, at(fake), tmp_path / "rows.jsonl", n)
    assert not fake.bodies


def test_replies_before_a_refused_key_are_kept(fake, tmp_path):
    fake.answer = lambda asked, attempt: message(GOOD) if number(asked) < 2 else (401, b"{}")
    path = tmp_path / "rows.jsonl"
    with pytest.raises(UserError, match="refuses the key"):
        teacher.build(PROMPTS, at(fake, concurrency=1), path)
    assert len(lines(kept(path))) == 2 and not path.exists()
    fake.answer = lambda asked, attempt: message(GOOD)
    assert teacher.build(PROMPTS, at(fake), path).asked == 4


def command(fake, path, *more):
    words = ["--address", fake.address, "--model", "tiny", "--out", path, "--retries", 1, *more]
    return [sys.executable, "-m", "srlib.ops.teacher", *map(str, words)]


def test_killed_and_resumed_run_ends_with_the_same_bytes(fake, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps(p) + "\n" for p in PROMPTS))
    options = ("--requests", own, "--concurrency", 1)
    whole, path = tmp_path / "whole.jsonl", tmp_path / "rows.jsonl"
    subprocess.run(command(fake, whole, *options), check=True)

    asked = len(fake.bodies)
    fake.answer = lambda asked_for, attempt: (
        message(GOOD)
        if len(fake.bodies) <= asked + 3
        else fake.release.wait(60) and message("late")
    )
    running = subprocess.Popen(command(fake, path, *options))
    while running.poll() is None:
        time.sleep(0.02)
        if len(fake.bodies) == asked + 4 and len(lines(kept(path))) == 3:
            break
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert len(lines(kept(path))) == 3 and not path.exists()
    with kept(path).open("ab") as handle:
        handle.write(b'{"key": "torn')

    fake.answer = lambda asked_for, attempt: message(GOOD)
    before = len(fake.bodies)
    subprocess.run(command(fake, path, *options), check=True)
    assert len(fake.bodies) == before + 3
    assert path.read_bytes() == whole.read_bytes()


def test_command_line_end_to_end(fake, tmp_path):
    path = tmp_path / "rows.jsonl"
    options = ("--requests", "harmful", "--n", 5)
    done = subprocess.run(command(fake, path, *options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        "5 of 5 rows accepted; 5 asked, 35 + 15 tokens" in done.stdout and str(path) in done.stdout
    )
    drawn = evalsets.load("harmful", "harmful", 5, 0, part="tune")
    assert [r["prompt"] for r in lines(path)] == [r.prompt for r in drawn]
    assert len({r["category"] for r in lines(path)}) > 1
    assert set(fake.keys) == {f"Bearer {KEY}"}
    everything = done.stdout + done.stderr + "".join(p.read_text() for p in tmp_path.iterdir())
    assert KEY not in everything


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--requests", "harmless"), "data set 'harmless' is unknown"),
        (("--requests", "harmful", "--n", 0), "ask for at least 1"),
        (("--requests", "harmful", "--model", "tinny"), "did you mean 'tiny'"),
        (("--requests", "harmful", "--key-env", KEY), "key_env names"),
    ],
)
def test_command_line_errors_are_one_line(fake, tmp_path, more, words):
    done = subprocess.run(
        command(fake, tmp_path / "rows.jsonl", *more), capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert done.stderr.count("\n") == 1 and KEY not in done.stderr
