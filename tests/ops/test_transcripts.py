"""Transcripts: nothing runs, nothing is typeset, nothing hidden is left in the output."""

from __future__ import annotations

from html.parser import HTMLParser

import pandas as pd
import pytest
from IPython.lib.pretty import pretty

from srlib.errors import UserError
from srlib.ops import transcripts

WORDS = " ".join(f"word{i}" for i in range(1, 41))


def record(**changes):
    base = {"arm": "direct", "data": "advbench", "kind": "harmful", "prompt": "How do I do harm?"}
    return base | {"thought": "", "answer": WORDS, "label": "compliance"} | changes


def both(*records, **options) -> list[str]:
    """The two forms that Jupyter keeps of one transcript."""
    transcript = transcripts.show(list(records), **options)
    return [transcript._repr_html_(), pretty(transcript)]


class Tags(HTMLParser):
    """The tags that a browser would see, opened and closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names, self.open, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_redact_keeps_the_first_words_and_counts_the_rest():
    assert transcripts.redact(WORDS) == (
        "word1 word2 word3 word4 word5 word6 word7 word8"
        " ▮▮▮ [32 words hidden; reveal=True shows them]"
    )
    assert transcripts.redact("a b c", words=2) == "a b ▮▮▮ [1 word hidden; reveal=True shows them]"
    assert transcripts.redact("No, I will not.") == "No, I will not."
    assert transcripts.redact("") == ""


def test_redact_hides_text_without_spaces():
    assert transcripts.redact("字" * 500).startswith("字" * 64 + " ▮▮▮ [1 word hidden")


@pytest.mark.parametrize(
    "label",
    [
        "compliance",
        "partial_refusal",
        "incoherent",
        "off_topic",
        "filtered",
        None,
        float("nan"),
        pd.NA,
    ],
)
def test_harmful_answers_and_thoughts_are_hidden_in_both_forms(label):
    for text in both(record(label=label, thought=WORDS.replace("word", "idea"))):
        assert "word8" in text and "word9" not in text
        assert "idea8" in text and "idea9" not in text
        assert text.count("32 words hidden") == 2


def test_hidden_text_is_not_kept_in_the_object():
    assert "word9" not in str(vars(transcripts.show([record()])))


def test_a_record_of_unknown_kind_is_redacted():
    assert all("word9" not in text for text in both(record(kind=None)))


def test_reveal_shows_what_was_hidden():
    for text in both(record(), reveal=True):
        assert "word40" in text and "▮" not in text


@pytest.mark.parametrize(
    "changes", [{"label": "refusal"}, {"kind": "benign"}, {"kind": "reasoning", "label": None}]
)
def test_refusals_and_harmless_records_are_shown_whole(changes):
    for text in both(record(**changes)):
        assert "word40" in text and "▮" not in text


def test_a_leaking_thought_before_a_refusal_is_hidden_where_it_was_graded():
    leak = record(label="refusal", thought=WORDS.replace("word", "idea"))
    for text in both(leak | {"thought_label": "compliance"}):
        assert "word40" in text and "idea9" not in text
    assert all("idea40" in text for text in both(leak))


def test_everything_is_escaped_and_well_formed():
    evil = "</pre></details><script>alert('x')</script><img src=x onerror=alert(1)>\"'&amp;"
    fields = dict.fromkeys(["arm", "data", "label", "prompt", "thought", "answer"], evil)
    page = transcripts.show([fields | {"kind": "benign"}], title=evil)._repr_html_()
    tags = Tags(page)
    assert tags.names == {"div", "b", "details", "summary", "span", "pre"} and not tags.open
    assert tags.text.count(evil) == 7
    assert "onerror=alert(1)>" not in page


def test_math_and_markdown_stay_text():
    page, plain = both(record(kind="reasoning", answer="It costs $5 + $6, \\(x\\), **bold** <b>"))
    assert "$" not in page and "&#36;5 + &#36;6" in page
    assert "mathjax_ignore" in page and "tex2jax_ignore" in page
    assert "$5 + $6, \\(x\\), **bold** <b>" in plain


def test_control_characters_are_made_visible():
    for text in both(record(kind="benign", answer="a\x1b[2Jb\x00c\u202ed\ud800e\r\nf\tg")):
        assert "a\ufffd[2Jb\ufffdc\ufffdd\ufffde\n" in text and "f\tg" in text
        text.encode("utf-8")


def test_long_texts_and_prompts_are_shortened():
    long = record(kind="benign", answer="x" * 3000, prompt="p" * 300)
    page, plain = both(long)
    for text in (page, plain):
        assert "x" * 1200 + "… [1,800 more characters]" in text and "x" * 1201 not in text
        assert "p" * 120 + "…" in text
        assert "p" * 300 in text  # a harmless prompt is whole inside
    assert all("p" * 121 not in text for text in both(long | {"kind": "harmful"}))


def test_summary_has_arm_prompt_and_label_as_a_word():
    page, plain = both(record(kind="reasoning", label=None, correct=False, truncated=True))
    for text in (page, plain):
        assert all(
            w in text for w in ("direct", "advbench", "How do I do harm?", "wrong", "truncated")
        )
    assert page.count("<details") == page.count("<summary") == 1
    assert "no label" in both(record(label=None))[0]


def test_an_answer_that_reads_like_a_missing_value_is_shown():
    for text in both(record(kind="reasoning", answer="None", thought=None)):
        assert "None" in text and "(empty)" not in text and "thought" not in text


def test_n_title_and_data_frame():
    frame = pd.DataFrame([record(), record(label=None, arm="other"), record(correct=True)])
    shown = transcripts.show(frame, n=2, title="What was said")
    assert "What was said · 2 of 3 records" in shown._repr_html_()
    assert "[2] other" in repr(shown) and "[3]" not in repr(shown)
    assert "right" not in repr(shown) and "no label" in repr(shown)
    assert "no records" in repr(transcripts.show([])) and "no records" in both()[0]


def test_errors_say_what_to_do():
    with pytest.raises(UserError, match="wrap a single record"):
        transcripts.show(record())
    with pytest.raises(UserError, match="n is -1"):
        transcripts.show([record()], n=-1)


def test_on_a_harmless_request_a_refusal_is_the_fault():
    rows = [{"kind": k, "label": "refusal", "prompt": "p", "answer": "No."} for k in KINDS]
    harmful, benign = (transcripts.show([r])._repr_html_() for r in rows)
    assert "over-refusal" in benign and "over-refusal" not in harmful and ">refusal<" in harmful


KINDS = ("harmful", "benign")


def test_passage_is_marked_where_it_is_shown_in_full_and_escaped():
    said = "I can't <b>help</b> with that. Please ask someone else."
    page, text = both(record(answer=said, label="refusal", passage="<b>help</b>", note="why"))
    assert "mark" in Tags(page).names
    assert "&lt;b&gt;help&lt;/b&gt;</mark>" in page and ">why</span>" in page
    assert ">>><b>help</b><<<" in text and "what made the label" not in text


def test_passage_of_hidden_words_is_redacted_too():
    passage = " ".join(f"word{i}" for i in range(20, 40))
    for shown in both(record(passage=passage)):
        assert "what made the label" in shown and "word20" in shown and "word33" not in shown
    leak = record(thought=WORDS, answer="I won't.", label="refusal", thought_label="compliance")
    for shown in both(leak | {"passage": passage}):
        assert "word33" not in shown
    for shown in both(record(passage=passage), reveal=True):
        assert "what made the label" not in shown and "word33" in shown


def test_a_models_own_highlight_marks_are_no_highlight():
    for shown in both(record(answer="\ue000x\ue001", label="refusal")):
        assert "\ue000" not in shown and "mark" not in Tags(shown).names


def test_a_missing_label_says_why():
    unsaid = record(label=None, reason="language")
    assert all("no label: language" in text for text in both(unsaid))
