"""Completions through a server that misbehaves on demand: records, keys, resume, clear errors."""

import copy
import json
from dataclasses import replace

import pytest
from test_server import Fake, completion, message, nowhere

from srlib import metrics, params, store
from srlib.errors import UserError
from srlib.experiment import evaluate, serving
from srlib.generation import asking, engine, prompts, served, server
from srlib.mitigations import prompted
from srlib.models import bases


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Fake() as running:
        yield running


ROWS = {"n_reasoning": 2, "n_harmful": 3, "n_benign": 2}


def values(address, outputs, name="01_cot_prompting", **more):
    told = {"backend": "server", "address": address, "outputs": str(outputs), "model": "tiny"}
    told |= {"align": False, "retries": 0, "timeout": 20.0, **ROWS}
    return params.check(told | more, params.signature(name), "test")


def start(*told, name="01_cot_prompting", **more):
    return evaluate.start(name, params.Values(**values(*told, name=name, **more)))


def test_a_model_that_is_only_served_is_asked_once(fake, tmp_path):
    fake.answer = lambda asked, attempt: message("The answer is 7.")
    first = start(fake.address, tmp_path)
    table = first.ask(first.base(), prompts.direct())
    assert len(table) == 7 == len(fake.bodies) and set(table["answer"]) == {"The answer is 7."}
    assert set(table["new_tokens"]) == {3} and set(table["prompt_tokens"]) == {7}
    (file,) = (tmp_path / "quick/completions").glob("*.jsonl")
    for record in store.read(file):
        assert record["model"]["served"] == {"id": "tiny", "answered_as": "tiny-2024"}
        assert record["messages"] in [body["messages"] for body in fake.bodies]
    again = start(fake.address, tmp_path)
    assert again.ask(again.base(), prompts.direct()).equals(table) and len(fake.bodies) == 7


def test_a_record_has_the_fields_that_a_record_made_here_has(fake, lm, tmp_path):
    asked = [asking.Request("h-1", "harmful", [{"role": "user", "content": "Hi"}])]
    here = engine.complete(lm, asked, asking.Settings(2), tmp_path / "here")[0]
    place = server.Server(fake.address, "tiny")
    there = served.Served("tiny", place, {"id": "tiny"}, "", "embedded", tmp_path)
    told = engine.complete(there, asked, asking.Settings(2), tmp_path / "there")[0]
    assert list(told) == list(here) and {*told["model"]} == {*here["model"], "served"}
    assert told["key"] != here["key"]


def test_a_key_holds_what_the_server_says_and_not_where_it_is(tmp_path):
    request = asking.Request("1", "d", [{"role": "user", "content": "Hi"}])
    place = server.Server("http://a/v1", "tiny")
    lm = served.Served("tiny", place, {"id": "tiny", "root": "/a"}, "f0", "embedded", tmp_path)

    def key(**more):
        return asking.key(request, replace(lm, **more), asking.Settings(8))

    assert key(where=server.Server("http://b/v1", "tiny")) == key(name="other") == key()
    others = [key(), key(said={"id": "tiny", "root": "/b"}), key(fingerprint="f1")]
    assert len(set(others)) == 3


def test_requests_that_failed_are_asked_again_and_no_others(fake, tmp_path):
    S = start(fake.address, tmp_path)  # noqa: N806 - as in the notebooks
    bad = S.rows["harmful"][1].prompt
    refused = (400, {"error": {"message": "context too long"}})
    fake.answer = lambda asked, attempt: refused if asked == bad else message()
    with pytest.raises(UserError, match=r"1 of 7 requests.*context too long.*run again") as caught:
        S.ask(S.base(), prompts.direct())
    assert "\n" not in str(caught.value)
    fake.answer = lambda asked, attempt: message()
    fake.bodies.clear()
    assert len(S.ask(S.base(), prompts.direct())) == 7
    assert [body["messages"][-1]["content"] for body in fake.bodies] == [bad]


def test_what_a_filter_stopped_is_kept_counted_and_never_asked_for_again(fake, tmp_path, capsys):
    S = start(fake.address, tmp_path)  # noqa: N806 - as in the notebooks
    before, within, after = (row.prompt for row in S.rows["harmful"])
    asked = S.rows["benign"][0].prompt, S.rows["reasoning"][0].prompt
    blocked = 400, {"error": {"message": "no", "code": "content_filter", "param": "prompt"}}
    said = dict.fromkeys((before, *asked), blocked)
    said |= {within: message("First of", "content_filter"), after: message("I won't.", "refusal")}
    fake.answer = lambda prompt, attempt: said.get(
        prompt, message("The answer is 7.", "max_tokens")
    )
    table = S.ask(S.base(), prompts.direct()).set_index("prompt")
    assert len(fake.bodies) == 7
    assert table.loc[[before, within, *asked], "label"].tolist() == ["filtered"] * 4
    assert (table.loc[within, "answer"], table.loc[after, "label"]) == ("First of", "refusal")
    assert table["truncated"].sum() == 2 and table.loc[asked[1], "correct"] == False  # noqa: E712
    (file,) = (tmp_path / "quick/completions").glob("*.jsonl")
    kept = {r["messages"][-1]["content"]: r for r in store.read(file)}
    assert (kept[before]["text"], kept[before]["finish"]) == ("", "filtered")
    rates = metrics.tidy(table.reset_index()).set_index(["data", "metric"])["value"]
    assert rates[S.values["harmful_data"], "filtered_rate"] == pytest.approx(2 / 3)
    assert rates[S.values["benign_data"], "filtered_rate"] == 0.5
    line = "2 of 3 filtered (stopped by the host's content filter)"
    assert line in capsys.readouterr().out
    S.run.note()
    assert any(
        line in told for told in store.read_json(S.run.folder / "run.json")["without_verdict"]
    )
    again = start(fake.address, tmp_path)
    assert again.ask(again.base(), prompts.direct()).set_index("prompt").equals(table)
    assert len(fake.bodies) == 7


def test_a_filter_and_a_fault_on_one_server_are_told_apart(fake, tmp_path):
    S = start(fake.address, tmp_path)  # noqa: N806 - as in the notebooks
    blocked, down = (row.prompt for row in S.rows["harmful"][:2])
    said = {
        blocked: (403, {"error": {"message": "Your prompt was flagged by moderation"}}),
        down: (503, {"error": {"message": "the content filter does not answer"}}),
    }
    fake.answer = lambda asked, attempt: said.get(asked, message())
    with pytest.raises(UserError, match="1 of 7 requests"):
        S.ask(S.base(), prompts.direct())
    fake.answer = lambda asked, attempt: message()
    fake.bodies.clear()
    assert S.ask(S.base(), prompts.direct())["label"].tolist().count("filtered") == 1
    assert [body["messages"][-1]["content"] for body in fake.bodies] == [down]


def test_a_stopped_thought_is_not_made_to_go_on(fake, lm, outputs, tmp_path):
    fake.answer = lambda asked, attempt: message("<think>4 + 3</think>It", "content_filter")
    place = server.Server(fake.address, "tiny")
    there = served.Served("tiny", place, {"id": "tiny"}, "", "embedded", outputs)
    ask = asking.Request("1", "d", [{"role": "user", "content": "What is 4 + 3?"}])
    more = prompted.named("more think", "think", times=2)
    (record,) = prompted.complete(there, [ask], asking.Settings(8), tmp_path, more)
    assert record["finish"] == "filtered" and len(fake.bodies) == 1


def test_a_begun_reply_goes_out_as_the_text_that_the_model_reads(fake, lm, tmp_path):
    from tokenizers.processors import TemplateProcessing

    fake.answer = lambda asked, attempt: completion(" 7.", "length")
    place = server.Server(fake.address, "tiny")
    there = served.Served("tiny", place, {"id": "tiny"}, "", "embedded", tmp_path)
    there.__dict__["tokenizer"] = words = copy.deepcopy(lm.tokenizer)
    ask = asking.Request("1", "d", [{"role": "user", "content": "Hi"}], "<think>\n")
    record = engine.complete(there, [ask], asking.Settings(2), tmp_path / "1")[0]
    assert record["text"] == "<think>\n 7." and record["finish"] == "length"
    read = asking.written(lm, ask)
    assert fake.bodies[-1]["prompt"] == read and read.endswith("assistant\n<think>\n")
    bos = (words.bos_token, words.bos_token_id)
    words._tokenizer.post_processor = TemplateProcessing(f"{bos[0]} $A", special_tokens=[bos])
    engine.complete(there, [ask], asking.Settings(3), tmp_path / "1")
    sent = fake.bodies[-1]["prompt"]
    assert words(sent)["input_ids"] == lm.tokenizer(read)["input_ids"] and sent != read


def test_a_thought_goes_on_as_far_as_the_server_reads(fake, lm, outputs, tmp_path):
    said = ["<think>4 + 3 = 7</think>The answer is 7.", " So it is.</think>The answer is 8."]
    fake.answer = lambda asked, attempt: (
        completion(said[1]) if asked.endswith("Wait") else message(said[0])
    )
    place = server.Server(fake.address, "tiny")
    ask = asking.Request("1", "d", [{"role": "user", "content": "What is 4 + 3?"}])
    more, found = prompted.named("more think", "think", times=1), {}
    settings = asking.Settings(8)
    for window in (20, 200):
        told = {"id": "tiny", "max_model_len": window}
        there = served.Served("tiny", place, told, "", "embedded", outputs)
        found[window] = prompted.complete(there, [ask], settings, tmp_path, more)[0]
    assert found[20]["text"] == said[0]  # no room to go on
    assert found[200]["text"] == f"<think>4 + 3 = 7\nWait{said[1]}"
    assert found[200]["new_tokens"] == 6 and len(fake.bodies) == 3
    unsaid = served.Served("tiny", place, {"id": "tiny"}, "", "embedded", outputs)
    assert unsaid.window == lm.window == 8192


def test_all_models_that_a_server_lacks_are_named_with_the_line_that_adds_them(
    fake, tmp_path
):  # fmt: skip
    wanted = {}
    for name in ("a ×2", "b ×4"):
        folder = tmp_path / f"{store.slug(name)}-0f"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": 12}))
        wanted[name] = bases.Base("tiny", (folder,))
    told = values(fake.address, tmp_path)
    with pytest.raises(UserError) as caught:
        serving.require(told, wanted, tmp_path, tmp_path)
    said = str(caught.value)
    for words in (
        "'a_2-0f' (for a ×2), 'b_4-0f' (for b ×4)", "it serves: tiny, big",
        "vllm serve tiny --generation-config vllm --enable-lora --max-lora-rank 16 --lora-modules "
        f"a_2-0f={tmp_path}/a_2-0f b_4-0f={tmp_path}/b_4-0f",
    ):  # fmt: skip
        assert words in said
    assert "\n" not in said
    found = serving.require(
        told | {"served_as": {"tiny": f"big @ {fake.address}"}, "address": nowhere()},
        {"tiny": bases.Base("tiny")}, tmp_path, tmp_path,
    )  # fmt: skip
    assert found["tiny"].where.model == "big" and found["tiny"].where.address == fake.address


def test_an_arm_served_with_other_weights_is_found_out(fake, tmp_path):
    for name, weights in (("arm-1", "new"), ("arm-0", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_model.safetensors").write_text(weights)
    stale = {"id": "arm", "object": "model", "root": str(tmp_path / "arm-0"), "parent": "tiny"}
    fake.models = (200, {"object": "list", "data": [stale]})
    told = values(fake.address, tmp_path) | {"served_as": {"arm": "arm"}}
    with pytest.raises(UserError, match=r"holds other weights than arm has now; serve .*/arm-1"):
        wanted = {"arm": bases.Base("tiny", (tmp_path / "arm-1",))}
        serving.require(told, wanted, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backend": "vllm"}, "use local or server"),
        ({"address": ""}, "address is empty"),
        ({"address": "127.0.0.1:8000"}, "looks like http://"),
        ({"served_as": {"tinny": "x"}}, "did you mean 'tiny'"),
        ({"served_as": {"tiny": "huge"}}, "does not serve 'huge' (for tiny); it serves: tiny, big"),
        ({"concurrency": 0}, "concurrency is 0"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(fake, tmp_path, change, words):
    with pytest.raises(UserError) as caught:
        evaluate.preflight(values(fake.address, tmp_path) | change)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not fake.bodies


def test_what_notebook_05_cannot_have_from_a_server_is_said_first(fake, tmp_path):
    told = values(fake.address, tmp_path, "05_mitigations", irr=[], resta=[])
    with pytest.raises(UserError, match=r"safe_lora edit weights.* set it to \[\]"):
        serving.preflight(told, tmp_path)
    told |= {"safe_lora": []}
    fake.answer = lambda asked, attempt: (404, b"{}")
    with pytest.raises(UserError, match=r"no /completions, .*: take zero think out of"):
        serving.preflight(told, tmp_path)
    serving.preflight(told | {"mitigations": ["self-reminder"]}, tmp_path)
