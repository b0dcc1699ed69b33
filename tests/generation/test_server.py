"""A real HTTP server on loopback that misbehaves on demand; the other test imports it from here."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from srlib import thoughts
from srlib.errors import UserError
from srlib.generation import server

KEY = "sk-never-show-this-0123456789"


def message(content="Hello.", finish="stop", **more):
    """A chat completion's body."""
    said = {"role": "assistant", "content": content, **more}
    return {
        "id": "c-1", "object": "chat.completion", "created": 0, "model": "tiny-2024",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.keys.append(self.headers["Authorization"])
        models = {"object": "list", "data": [{"id": i, "object": "model"} for i in ("tiny", "big")]}
        self.send(*(self.server.models or (200, models)))

    def do_POST(self):
        fake = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = body.get("messages") or [{"content": body.get("prompt", "")}]
        asked = said[-1]["content"]
        with fake.guard:
            fake.bodies.append(body)
            fake.paths.append(self.path)
            fake.keys.append(self.headers["Authorization"])
            fake.attempts[asked] += 1
            attempt = fake.attempts[asked]
            fake.flying += 1
            fake.peak = max(fake.peak, fake.flying)
        try:
            said = fake.answer(asked, attempt)
        finally:
            with fake.guard:
                fake.flying -= 1
        self.send(*(said if isinstance(said, tuple) else (200, said)))

    def send(self, status, payload, kind="application/json"):
        blob = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Retry-After-Ms", "1")
            short = blob.endswith(b"<torn>")
            self.send_header("Content-Length", str(len(blob) + 100 * short))
            self.end_headers()
            self.wfile.write(blob)
        except OSError:
            pass  # the client gave up waiting


class Fake(ThreadingHTTPServer):
    """`answer(asked, attempt)` gives a body (dict or bytes), or (status, body[, content type])."""

    daemon_threads = True

    def __init__(self, answer=lambda asked, attempt: message(f"You said {asked}.")):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.models = answer, None
        self.bodies, self.paths, self.keys, self.attempts = [], [], [], Counter()
        self.flying = self.peak = 0
        self.guard = threading.Lock()
        self.release = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.release.set()
        self.shutdown()
        self.server_close()


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Fake() as running:
        yield running


def at(fake, model="tiny", **options):
    return server.Server(fake.address, model, **({"retries": 1, "timeout": 20} | options))


def chat(text):
    return [{"role": "user", "content": text}]


def ask(where, texts, **options):
    found = server.ask(where, map(chat, texts), **({"max_new_tokens": 8} | options))
    return dict(found)


def nowhere():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def test_replies_come_with_the_index_of_their_conversation(fake):
    def answer(asked, attempt):
        if asked == "n0":  # its thread waits while the other one does all the rest
            fake.release.wait(20)
        if asked == "n5":
            fake.release.set()
        return message(f"You said {asked}.")

    fake.answer = answer
    chats = [chat(f"n{i}") for i in range(6)]
    found = list(server.ask(at(fake, concurrency=2), chats, max_new_tokens=8))
    assert {i: r.text for i, r in found} == {i: f"You said n{i}." for i in range(6)}
    assert [i for i, _ in found][:4] == [1, 2, 3, 4]  # in order of arrival, not of asking
    assert found[0][1] == server.Reply(found[0][1].text, "stop", 7, 3, "tiny-2024")
    assert set(fake.paths) == {"/v1/chat/completions"}


def test_as_many_requests_in_flight_as_asked_for_and_no_more(fake):
    together = threading.Barrier(3)

    def answer(asked, attempt):
        together.wait(20)  # passes only where three are in flight at once
        return message()

    fake.answer = answer
    found = ask(at(fake, concurrency=3), "abcdefghi")
    assert len(found) == 9 and not any(r.error for r in found.values())
    assert fake.peak == 3


def completion(text="Hello.", finish="stop", **more):
    """The body of a completion of a text."""
    choices = [{"index": 0, "text": text, "finish_reason": finish}]
    return message() | {"object": "text_completion", "choices": choices} | more


def test_a_text_is_gone_on_from_where_it_ends(fake):
    fake.answer = lambda asked, attempt: completion(" to you.", system_fingerprint="fp-1")
    found = dict(server.ask(at(fake), ["Good morning"], max_new_tokens=8, stop=["END"]))
    assert found[0] == server.Reply(" to you.", "stop", 7, 3, "tiny-2024", system="fp-1")
    assert fake.paths == ["/v1/completions"]
    assert fake.bodies == [
        {"model": "tiny", "prompt": "Good morning", "max_tokens": 8, "temperature": 0,
         "stop": ["END"]}
    ]  # fmt: skip
    fake.answer = lambda asked, attempt: {"choices": [{"finish_reason": "stop"}]}
    assert dict(server.ask(at(fake), ["x"], max_new_tokens=8))[0].error


@pytest.mark.parametrize(("status", "takes"), [(404, False), (400, True), (500, True)])
def test_whether_a_server_takes_texts(fake, status, takes):
    fake.answer = lambda asked, attempt: (status, {"error": {"message": "no"}})
    assert server.completes(at(fake)) is takes
    with pytest.raises(UserError, match="no server answers"):
        server.completes(server.Server(nowhere(), "tiny"))


def test_what_a_server_says_of_its_models(fake):
    listed = [
        {"id": "tiny", "object": "model", "created": time.time(), "root": "org/tiny",
         "parent": None, "max_model_len": 2048, "permission": [{"id": "new each time"}]},
        {"id": "arm", "object": "model", "root": "/arms/arm", "parent": "tiny"},
    ]  # fmt: skip
    fake.models = 200, {"object": "list", "data": listed}
    assert server.cards(at(fake)) == {
        "tiny": {"id": "tiny", "root": "org/tiny", "max_model_len": 2048},
        "arm": {"id": "arm", "root": "/arms/arm", "parent": "tiny"},
    }
    fake.models = (404, b"{}")
    assert server.cards(at(fake)) is None


def test_settings_are_sent_where_they_matter(fake):
    ask(at(fake), ["greedy"], top_p=0.5, seed=4)
    ask(at(fake), ["drawn"], temperature=0.7, top_p=0.5, seed=4, stop=["END"])
    greedy, drawn = fake.bodies
    assert greedy == {
        "model": "tiny", "messages": chat("greedy"), "max_tokens": 8, "temperature": 0,
    }  # fmt: skip
    assert drawn["top_p"] == 0.5 and drawn["seed"] == 4 and drawn["stop"] == ["END"]


def test_nothing_to_ask_and_stopping_early(fake):
    assert ask(at(fake), []) == {}
    fake.answer = lambda asked, attempt: (asked == "a" or fake.release.wait(20)) and message()
    some = server.ask(at(fake, concurrency=1), map(chat, "abcdef"), max_new_tokens=8)
    assert next(some)[0] == 0
    some.close()
    fake.release.set()
    for thread in threading.enumerate():
        if "_work" in thread.name:
            thread.join(20)
    assert len(fake.bodies) <= 2


@pytest.mark.parametrize("trouble", [(429, {"error": {"message": "slow down"}}), (503, b"busy")])
def test_busy_server_is_asked_again(fake, trouble):
    fake.answer = lambda asked, attempt: trouble if attempt == 1 else message("Fine.")
    assert ask(at(fake), ["x"])[0].text == "Fine."
    assert len(fake.bodies) == 2


def test_dropped_connection_and_timeout_are_asked_again(fake):
    def answer(asked, attempt):
        if attempt > 1:
            return message("Fine.")
        if asked == "torn":
            return b'{"id": <torn>'
        fake.release.wait(20)
        return message("too late")

    fake.answer = answer
    assert [r.text for r in ask(at(fake, timeout=2), ["torn", "slow"]).values()] == ["Fine."] * 2
    assert fake.attempts == {"torn": 2, "slow": 2}


BAD = {
    "500 for ever": (500, {"error": {"message": "out of memory"}}),
    "refused as bad": (400, {"error": {"message": "context too long"}}),
    "not allowed": (403, {"error": {"message": "this model is not open to your project"}}),
    "garbage": b'{"id": "c-1", "choi',
    "not JSON": (200, b"<html>log in</html>", "text/html"),
    "no choices": {"id": "c-1", "object": "chat.completion", "model": "tiny"},
    "empty choices": {**message(), "choices": []},
    "choices are text": {**message(), "choices": ["hello"]},
    "no message": {**message(), "choices": [{"index": 0}]},
    "content is a picture": message([{"type": "image_url", "image_url": {"url": "data:"}}]),
    "content is a number": message(7),
    "broken off": message("Half of it, and th", "error"),
    "broken off, says why": {
        "choices": [
            {
                "message": {"content": "Half"},
                "finish_reason": "stop",
                "error": {"code": 502, "message": "upstream is gone"},
            }
        ]
    },
    "error with status 200": {"error": {"message": "the model fell over"}},
    "torn for ever": b'{"id": <torn>',
    "nothing at all": b"",
    "null": b"null",
}


def test_bad_rows_do_not_lose_the_others(fake):
    fake.answer = lambda asked, attempt: BAD.get(asked, message("Fine."))
    texts = [text for bad in BAD for text in (bad, f"good after {bad}")]
    found = ask(at(fake), texts)
    for i, text in enumerate(texts):
        reply = found[i]
        if text in BAD:
            assert reply.error and "\n" not in reply.error and reply.text == "", text
            assert reply.finish == "error" and len(reply.error) < 250, text
        else:
            assert (reply.text, reply.error) == ("Fine.", "")
    assert "out of memory" in found[0].error and "context too long" in found[2].error
    assert "fell over" in found[texts.index("error with status 200")].error
    assert fake.attempts["500 for ever"] == 2 and fake.attempts["refused as bad"] == 1


def test_slow_for_ever_is_an_error_of_its_row(fake):
    fake.answer = lambda asked, attempt: (
        message("Fine.") if asked == "quick" else fake.release.wait(20) and message("late")
    )
    found = ask(at(fake, timeout=1, retries=0), ["slow", "quick"])
    assert "timed out" in found[0].error and found[1].text == "Fine."


@pytest.mark.parametrize(
    ("said", "text", "status"),
    [
        (message(None), "", "empty_answer"),
        (message("No.", reasoning_content="Hm."), "<think>Hm.</think>No.", "ok"),
        (message("No.", reasoning="Hm."), "<think>Hm.</think>No.", "ok"),
        (message(None, reasoning_content="Hm."), "<think>Hm.</think>", "empty_answer"),
        (message(None, "length", reasoning="Hm."), "<think>Hm.", "unclosed_thought"),
        (message(None, refusal="I can't."), "I can't.", "no_tags"),
        (message("a \ud800 b"), "a ? b", "no_tags"),
        (message("No.", reasoning_content="<think>Hm.</think>"), "<think>Hm.</think>No.", "ok"),
        (message("</think>No.", reasoning="Hm."), "<think>Hm.</think>No.", "ok"),
        (message("<think>Hm.</think>No.", reasoning="Hm."), "<think>Hm.</think>No.", "ok"),
        (message(None, reasoning="Hm.</think>No."), "<think>Hm.</think>No.", "ok"),
        (message("No.", reasoning_content="\n\n"), "No.", "no_tags"),
        (message(" ", "max_tokens", reasoning="Hm."), "<think>Hm. ", "unclosed_thought"),
        (message("No.", reasoning={"text": "Hm."}), "<think>Hm.</think>No.", "ok"),
        (
            message("No.", reasoning_details=[
                {"type": "reasoning.summary", "summary": "Hm."},
                {"type": "reasoning.encrypted", "data": "4f2a"},
                {"type": "reasoning.text", "text": "No?"},
            ]),
            "<think>Hm.\n\nNo?</think>No.",
            "ok",
        ),
    ],
)  # fmt: skip
def test_thought_in_a_field_of_its_own_is_put_back(fake, said, text, status):
    fake.answer = lambda asked, attempt: said
    reply = ask(at(fake), ["x"])[0]
    assert reply.text == text and not reply.error
    assert thoughts.split(reply.text).status == status


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "text", "text": "Good "}, {"type": "text", "text": "day."}], "Good day."),
        ([{"type": "output_text", "text": "Good day.", "annotations": []}], "Good day."),
        ([{"type": "text", "text": {"value": "Good day.", "annotations": []}}], "Good day."),
        ({"type": "text", "text": "Good day."}, "Good day."),
        (["Good ", "day."], "Good day."),
        ([{"type": "refusal", "refusal": "I can't."}], "I can't."),
        ([{"type": "tool_use", "name": "go"}, {"type": "text", "text": "Good day."}], "Good day."),
        (
            [{"type": "thinking", "thinking": "Morning? ", "signature": "9f"},
             {"type": "redacted_thinking", "data": "4f2a"}, {"type": "text", "text": "Good day."}],
            "<think>Morning? </think>Good day.",
        ),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Mor"},
                                               {"type": "text", "text": "ning?"}]},
             {"type": "text", "text": "Good day."}],
            "<think>Morning?</think>Good day.",
        ),
        (
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Morning?"},
                                               {"type": "summary_text", "text": "Yes."}]},
             {"type": "output_text", "text": "Good day."}],
            "<think>Morning?\n\nYes.</think>Good day.",
        ),
        ([{"type": "redacted_thinking", "data": "4f2a"}], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_content_in_parts_is_one_text(fake, parts, text):
    fake.answer = lambda asked, attempt: message(parts)
    reply = ask(at(fake), ["x"])[0]
    assert (reply.text, reply.finish, reply.error) == (text, "stop", "")


CUTS = ["max_tokens", "MAX_TOKENS", "FinishReason.MAX_TOKENS", "max_output_tokens", "model_length"]
CUTS += [
    "incomplete",
    "length",
    "maxTokens",
    "max_new_tokens",
    "token_limit",
    "model_context_window_exceeded",
]


@pytest.mark.parametrize(
    ("said", "means"),
    [*((cut, "length") for cut in CUTS), ("end_turn", "stop"), ("STOP", "stop"), ("odd", "odd")],
)
def test_how_a_reply_ended_has_many_names(fake, said, means):
    fake.answer = lambda asked, attempt: message("So", said)
    assert ask(at(fake), ["x"])[0].finish == means


def test_a_reply_as_long_as_can_be_without_a_word_of_how_it_ended_was_cut(fake):
    fake.answer = lambda asked, attempt: message("So then", None)  # 3 tokens
    assert ask(at(fake), ["x"], max_new_tokens=3)[0].finish == "length"
    assert ask(at(fake), ["x"], max_new_tokens=4)[0].finish == "unknown"


def azure(code="content_filter", **more):
    return {
        "error": {"message": "The response was filtered.", "code": code, "param": "prompt"} | more
    }


STOPPED = {
    "Azure": (400, azure(innererror={"code": "ResponsibleAIPolicyViolation"})),
    "Azure, by its inner code": (400, azure("BadRequest", message="No.", innererror={
        "code": "ResponsibleAIPolicyViolation"})),
    "OpenAI": (400, {"error": {"message": "Rejected.", "code": "content_policy_violation"}}),
    "OpenAI, flagged": (400, {"error": {"code": "invalid_prompt", "message":
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy."}}),
    "moderated": (403, {"error": {"message": "moderated"}}),
    "flagged input": (403, {"error": {"code": 403, "message": "not this", "metadata": {
        "reasons": ["violence"], "flagged_input": "x"}}}),
    "by type": (400, {"error": {"message": "considered high risk", "type": "content_filter"}}),
    "inspected": (400, {"error": {"message": "no", "code": "data_inspection_failed"}}),
    "a proxy's words": (400, {"error": {"code": "400", "message":
        "litellm.ContentPolicyViolationError: the host says no"}}),
    "words alone": (400, {"error": {"message": "Output blocked by content filtering policy"}}),
    "a list": (400, [{"error": {"message": "no", "status": "SAFETY"}}]),
    "a sentence": (403, {"code": "denied", "error": "Content violates usage guidelines"}),
    "at risk": (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request"}}),
    "a gateway": (424, {"error": [{"code": 2016, "message": "Prompt blocked due to security"}]}),
    "behind a router": (400, {"error": {"message": "Provider returned error", "code": 400,
        "metadata": {"raw": '{"error": {"code": "content_filter"}}', "provider_name": "a"}}}),
    "no choices, blocked": {"choices": [], "prompt_feedback": {"block_reason": "OTHER"}},
    "error with status 200": {"error": {"message": "no", "code": "content_filter"}},
    "no choices, feedback": {"choices": None, "promptFeedback": {"blockReason": "SAFETY"}},
    "no message": {"choices": [{"index": 0, "finish_reason": "content_filter: SAFETY"}]},
    **{word: message(None, word) for word in (
        "content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "blocklist", "refusal",
        "guardrail_intervened", "sensitive", "SPII")},
    "native": message(None, native_finish_reason="SAFETY")
        | {"choices": [{"message": {"content": ""}, "finish_reason": "stop",
                        "native_finish_reason": "SAFETY"}]},
}  # fmt: skip


@pytest.mark.parametrize("host", STOPPED)
def test_what_a_hosts_filter_stops_is_a_reply_and_no_error(fake, host):
    fake.answer = lambda asked, attempt: STOPPED[host]
    reply = ask(at(fake), ["x"])[0]
    assert (reply.text, reply.finish, reply.error) == ("", "filtered", "")
    assert len(fake.bodies) == 1


def test_a_filter_may_stop_half_a_reply_and_a_refusal_may_have_words(fake):
    fake.answer = lambda asked, attempt: message(
        "To begin with,", "content_filter", reasoning="Hm."
    )
    assert ask(at(fake), ["x"])[0].text == "<think>Hm.</think>To begin with,"
    assert ask(at(fake), ["x"])[0].finish == "filtered"
    fake.answer = lambda asked, attempt: message("I won't do that.", "refusal")
    assert (ask(at(fake), ["x"])[0].text, ask(at(fake), ["x"])[0].finish) == (
        "I won't do that.",
        "refusal",
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, {"message": "the content filter is down", "code": "content_filter"}),
        (400, {"message": "upstream", "code": 503, "type": "moderation"}),
        (429, {"message": "too many requests to the moderation endpoint"}),
        (400, {"message": "Unrecognized request argument supplied: content_filter"}),
        (400, {"message": "not allowed", "param": "safety_settings", "code": "invalid_value"}),
        (400, {"message": "Guardrail g-1 does not exist"}),
        (403, {"message": "no", "code": "blocked_api_access"}),
        (400, {"message": "no", "code": "context_length_exceeded", "param": "messages"}),
        (
            400,
            {"message": "maximum context length is 2048 tokens, your prompt was flagged as long"},
        ),
        (403, {"message": "Your account was suspended for violating the usage policies"}),
    ],
)
def test_what_is_no_filter_stays_an_error_of_its_row(fake, status, error):
    fake.answer = lambda asked, attempt: (status, {"error": error})
    reply = ask(at(fake, retries=0), ["x"])[0]
    assert reply.error and reply.finish == "error"


def test_usage_finish_and_model_may_be_missing(fake):
    bare = {"choices": [{"message": {"content": "Hi."}}]}
    fake.answer = lambda asked, attempt: bare
    assert ask(at(fake), ["x"])[0] == server.Reply("Hi.", "unknown", 0, 0, "tiny")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": {"message": f"Incorrect API key {KEY}"}}, "OPENAI_API_KEY"),
        (402, {"error": {"message": f"no credit for {KEY}"}}, "account"),
        (404, {"error": {"message": "no such model"}}, "/v1"),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "account"),
    ],
)
def test_what_all_requests_would_meet_ends_the_asking(fake, status, body, words):
    fake.answer = lambda asked, attempt: message() if asked == "a" else (status, body)
    arrived = []
    with pytest.raises(UserError, match=words) as caught:
        arrived.extend(
            server.ask(at(fake, concurrency=1, retries=0), map(chat, "abcdef"), max_new_tokens=8)
        )
    assert len(fake.bodies) == 2  # "a", and "b" that ended it
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)


def test_replies_under_way_are_still_given_when_another_ends_the_asking(fake):
    refused = threading.Event()

    def answer(asked, attempt):
        if asked == "refused":
            refused.set()
            return 401, b"{}"
        refused.wait(20)
        time.sleep(0.1)
        return message("Paid for.")

    fake.answer = answer
    arrived = []
    texts = ["good", "refused", *"abcdefghijkl"]
    with pytest.raises(UserError):
        for found in server.ask(at(fake, concurrency=2), map(chat, texts), max_new_tokens=8):
            arrived.append(found)
    assert arrived[0][0] == 0 and {r.text for _, r in arrived} == {"Paid for."}
    assert len(fake.bodies) < len(texts)  # the others stop as well


def test_unreachable_server_is_one_line_and_nothing_else_is_tried(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gone = server.Server(nowhere(), "tiny", retries=0)
    for attempt in (lambda: server.check(gone), lambda: ask(gone, "abc")):
        with pytest.raises(UserError, match=r"no server answers at .* start it") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_check_lists_the_models(fake):
    assert server.check(at(fake)) == ["tiny", "big"]
    with pytest.raises(UserError, match=r"did you mean 'tiny'.*it serves: tiny, big"):
        server.check(at(fake, "tinny"))


def test_check_lets_pass_what_cannot_be_listed(fake, tmp_path):
    assert server.check(at(fake, str(tmp_path))) == ["tiny", "big"]  # a folder
    fake.models = (404, b"{}")
    assert server.check(at(fake, "anything")) == []


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ((401, {"error": {"message": KEY}}), "refuses the key"),
        ((403, {"error": {"message": KEY}}), "refuses the key"),
        ((503, {"error": {"message": "Loading model"}}), "not ready .*Loading model"),
        ((200, b"<html>log in</html>", "text/html"), "no OpenAI-compatible server"),
        ((200, b"{]"), "no OpenAI-compatible server"),
        ((200, {"data": []}), "it serves: nothing"),
    ],
)
def test_check_says_what_is_wrong(fake, models, words):
    fake.models = models
    with pytest.raises(UserError, match=words) as caught:
        server.check(at(fake))
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)


def test_key_comes_from_the_environment_and_is_shown_nowhere(fake, monkeypatch):
    ask(at(fake), ["x"])
    monkeypatch.setenv("OTHER_KEY", "other")
    ask(at(fake, key_env="OTHER_KEY"), ["x"])
    monkeypatch.delenv("OTHER_KEY")
    ask(at(fake, key_env="OTHER_KEY"), ["x"])
    assert fake.keys == [f"Bearer {KEY}", "Bearer other", "Bearer none"]
    assert KEY not in repr(at(fake))
    fake.answer = lambda asked, attempt: (400, {"error": {"message": f"you sent {KEY}"}})
    assert "you sent ***" in ask(at(fake), ["x"])[0].error
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(UserError, match="OPENAI_API_KEY has spaces") as caught:
        ask(at(fake), ["x"])
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"address": "127.0.0.1:8000"}, "looks like http://"),
        ({"address": f"http://user:{KEY}@host/v1"}, "looks like http://"),
        ({"address": f"https://host/v1?key={KEY}"}, "looks like http://"),
        ({"model": ""}, "no model is named"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"key_env": KEY}, "key_env names an environment variable"),
    ],
)
def test_impossible_values_are_refused(values, words):
    with pytest.raises(UserError, match=words) as caught:
        server.Server(**({"address": "http://localhost:8000/v1", "model": "tiny"} | values))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["https://api.host.org/v1/", "http://[::1]:8000/v1", "http://a"]
)
def test_usual_addresses_are_taken(address):
    assert server.Server(address, "tiny").address == address


def test_import_is_light():
    code = (
        "import srlib.generation.server, srlib.ops.teacher, sys; "
        "sys.exit(any(m in sys.modules for m in ('openai', 'torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
