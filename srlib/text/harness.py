r"""Answers read and compared as lm-evaluation-harness 0.4.13 does for its GSM8K tasks.

Its filters (``lm_eval/tasks/gsm8k/``, ``lm_eval/filters/extraction.py``) and its exact_match (text
against text after ``regexes_to_ignore``, case ignored, so 42.0 is not 42), slips included: "The
answer is 42" at the very end gives 4, as the pattern wants one more character. Strict is the first
pattern of its tasks that matches (gsm8k, gsm8k_cot, gsm8k_cot_llama). The whole text is read,
after a closed ``</think>`` (its ``think_end_token``) and up to the tasks' stop strings.
"""

from __future__ import annotations

import re

_STOPS = re.compile(r"Question:|Q:|</s>|<\|im_end\|>|<\|eot_id\|>")
_IGNORED = (",", r"\$", r"(?s).*#### ", r"\.$")
_NUMBER = r"(-?[$0-9.,]{2,})|(-?[0-9]+)"
# Pattern, and which match is taken; of several groups the first that holds something.
FILTERS = {
    "lm-eval-strict": (
        (r"#### (\-?[0-9\.\,]+)", 0),
        (r"The answer is (\-?[0-9\.\,]+).", 0),
        (rf"The final answer is ({_NUMBER})", -1),
    ),
    "lm-eval-flexible": ((_NUMBER, -1),),
}


def extract(text: str, protocol: str) -> str | None:
    """Return what a protocol's filters (a key of ``FILTERS``) take, None for their [invalid]."""
    text = _STOPS.split(text.rsplit("</think>", 1)[-1].lstrip(), maxsplit=1)[0]
    for pattern, which in FILTERS[protocol]:
        matches = re.findall(pattern, text)
        if matches:
            taken = matches[which]
            return (taken if isinstance(taken, str) else next(filter(None, taken))).strip()
    return None


def exact_match(text: str, gold: str, protocol: str) -> bool:
    """Return whether what is taken and the gold answer are one text, but for what is ignored."""
    taken = extract(text, protocol)
    return taken is not None and _compared(taken) == _compared(gold)


def _compared(answer: str) -> str:
    for pattern in _IGNORED:
        answer = re.sub(pattern, "", answer)
    return answer.lower()
