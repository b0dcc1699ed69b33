"""The final answer taken out of text, and exact match."""

from __future__ import annotations

import pytest

from srlib.answers import PROTOCOLS, exact_match, extract
from srlib.errors import UserError

# text, ours, the harness's strict and flexible filters
CASES = [
    ("6 * 3 = 18\n#### 18", "18", "18", "18"),
    ("#### 1,234", "1234", "1,234", "1,234"),
    ("#### -7", "-7", "-7", "-7"),
    ("#### 4\nno:\n#### 5", "5", "4", "5"),
    ("The answer is 42.", "42", "42", "42."),
    ("The answer is 42", "42", "4", "42"),  # its pattern wants one more character
    ("the answer is 42.", "42", None, "42."),
    ("So, the answer is 42 because 6 * 7 is.", "42", None, "7"),
    ("The final answer is $1,000.", "1000", "$1,000.", "$1,000."),
    ("The final answer is 3. The final answer is 4", "4", "4", "4"),
    ("Thus \\boxed{12}.", "12", None, "12"),
    ("Thus \\boxed{\\frac{1}{2}}.", "1/2", None, "2"),
    ("**Answer:** $18", "18", None, "$18"),
    ("The answer is: **-3.50**", "-3.50", None, "-3.50"),
    ("The answer is 5 + 3 = 8.", "8", "5", "8."),
    ("He pays 4, then 9 in all", "4", None, "9"),
    ("It takes 3-5 days", "5", None, "-5"),
    ("It is 42...", "42", None, "42..."),
    # The model goes on to another question.
    ("The answer is 42. Human: next question: what is 3+4", "42", "42.", "4"),
    ("so 5\n#### 5\n\nQuestion: and now?\nAnswer: 9\n#### 9", "5", "5", "5"),
    # Only the answer part counts; the harness cuts at a closed thought alone.
    ("<think>The answer is 3.</think>The answer is 4.", "4", "4", "4."),
    ("<think>The answer is 3.", None, "3", "3."),
    ("", None, None, None),
    ("no number here", None, None, None),
]


@pytest.mark.parametrize(("text", "ours", "strict", "flexible"), CASES)
def test_extract(text, ours, strict, flexible):
    assert [extract(text, protocol) for protocol in PROTOCOLS] == [ours, strict, flexible]
    assert extract(text) == ours


# By kind: what all mean the same number, in answers and in golds.
WRITTEN = {
    "9500": r"9,500 | 9{,}500 | 9\,500 | 9\;500 | 9\ 500 | 9,\!500 | 9\!500 | 9~500 | 9 500"
    r"| 9_500"
    r"| 9'500 | 9’500 | \$9{,}500 | $9,500.00 | 9.5 thousand | 9{\,}500 | 9\text{,}500",
    "1234567": r"1,234,567 | 1{,}234{,}567 | 1\,234\,567 | 12,34,567 | 1.234.567 | 1_234_567"
    r"| 1 234 567 | ₹12,34,567",
    "7/2": r"3.5 | 3½ | 3 ½ | 3 1/2 | 3-1/2 | 3 and 1/2 | 3\frac{1}{2} | 3 \dfrac12 | 3\tfrac1{2}"
    r"| \frac{7}{2} | \frac72 | 7/2 | 7⁄2 | \frac{\text{7}}{2} | 3½ cups",
    "-0.5": r"-1/2 | -½ | -\frac{1}{2} | -\frac12 | \frac{-1}{2} | −0.5 | -.5 | –½",
    "-3": r"-3 | −3 | –3 | ‑3 | －3 | ﹣3 | ⁻3 | -$3 | $-3 | −\$3 | negative 3 | minus 3 | -3.0"
    r"| -３",
    "42": r"42 | ４２ | ٤٢ | ४२ | 42. | (42) | “42” | `42` | **42** | +42 | 42!"
    r"| $42$ | \textbf{42} | \mathbf{42} | \text{42} | 042 | 42km | 42 km/h | 42 m/s^2 | 42% | 42\%"
    r"| 42^\circ | 42° | 42\text{ cm}^2 | 42\mbox{ cm}^2 | 42 \text{ dollars}"
    r"| x = 42 | <b>42</b> | 42 per day",
    "460": r"$460 | US$460 | USD 460 | Rs. 460 | Rs 460 | ₹460 | €460 | 460€ | 460 € | £460 | A$460"
    r"| 460 dollars | EUR 460 | \$460 | \pounds 460 | ¥460 | 460 USD | 460.00",
    "1500000": r"1.5 million | $1.5M | 1.5 \text{ million} | 1.5 \times 10^6 | 1.5\cdot10^{6}"
    r"| 1.5e6 | 1.5 × 10⁶ | 1.5 * 10**6 | 1.5x10^6 m | 15 lakh | 1.5 million dollars"
    r"| $1.5 million",
}
ROWS = [(gold, form.strip()) for gold, forms in WRITTEN.items() for form in forms.split("|")]


@pytest.mark.parametrize(("number", "form"), ROWS)
def test_one_number_in_its_ways_to_be_written(number, form):
    for text in (f"The answer is {form}", f"\\boxed{{{form}}}", f"**Final Answer:**\n\n{form}"):
        assert exact_match(text, number), text
        wrong = [other for other in WRITTEN if other != number]
        assert not any(exact_match(text, other) for other in wrong), text
    if number != "-3":  # golds are no speech: "minus 3"
        assert exact_match(f"The answer is {number}.", form)
        assert not exact_match("The answer is 77.", form)


RIGHT = [
    # Announced: the number of the announced sentence, whatever comes later.
    ("Answer: approximately 42 (2 s.f.)", "42"),
    ("The answer is about $42 for 3 days.", "42"),
    ("Final answer: It takes 42 minutes to walk 3 miles.", "42"),
    ("Final answer: in 3 days she earns $42.", "42"),
    ("The answer is 42, which is 6 more than 36.", "42"),
    ("The answer is 42 since 36 + 6 = 42 and 6 = 3 + 3.", "42"),
    ("The answer is 8 [for 5 + 3 = 8]", "8"),
    ("Answer: 12 (4 = 2 + 2)", "12"),
    ("The answer is 5 apples + 3 apples = 8 apples.", "8"),
    ("The answer is 42 - the sum of 40 and 2.", "42"),
    ("The answer, therefore, is 42 in 3 steps.", "42"),
    ("The answer is **42 apples**. He has 3 friends.", "42"),
    ("The answer is: $42\\text{ km}$ in 3 hours.", "42"),
    ("The answer is three.", "3"),
    ("The answer is forty-two apples.", "42"),
    ("<answer>42</answer> (3 steps)", "42"),
    ("\\boxed{\\text{She has 42 apples}}", "42"),
    ("It is 42.\nHence, the correct answer is option (C).", "42"),
    ("It costs $9.5k in 3 months. The answer is 9.5k", "9500"),
    ("The answer is 2^5", "32"),
    ("Let me check whether the answer is correct: 40 + 2 = 42.", "42"),
    ("The total is 42. I hope this answer is right.", "42"),
    ("**Final Answer:**\n\nAdding it all up:\n\n$40 + 2 = 42$", "42"),
    ("$$\\begin{aligned} x &= 40 + 2 \\\\ &= 42 \\end{aligned}$$", "42"),
    # Headings, and the answer under them.
    ("## Answer\n\n**42**\n\nShall I show all 3 steps?", "42"),
    ("# Final answer:\n- 42\n\nThat took 3 steps.", "42"),
    ("ANSWER\n42\n\n3 steps", "42"),
    ("Final Answer:\n\\[ 42 \\]\nin 3 steps.", "42"),
    ("#### 1. Cost\nIt is 5.\n#### 2. Sum\nIt is 24 in all.", "24"),
    ("#### 3) Sum\n20 + 4 = 24", "24"),
    ("#### Final Answer: 42\n\n3 steps", "42"),
    ("####42", "42"),
    # A further question is not this one's; a word for one may also stand before the answer.
    ("So it is 5.\n\nQuestion: Tim has 3 cows. How many legs?\nAnswer: 12", "5"),
    ("2 + 3 = 5\n\nQ: What is 3 + 4?\nA: 7", "5"),
    ("The total is 5.\nQuestion: What is 3 + 4?\nAnswer: The answer is 7.", "5"),
    ("#### 5\n\nProblem: Tim has 3 cows.\nSolution: 4 * 3\n#### 12", "5"),
    ("The answer is 5.\n\nUser: Thanks. And 3 + 4?\nAssistant: 7", "5"),
    ("We have 10 litres.\nProblem: 3 are lost. So 10 - 3 = 7.\nFinal answer: 7", "7"),
    ("Given 3 cats.\n\nQuestion: How many paws?\n\nSolution: 3 * 4 = 12\n\\boxed{12}", "12"),
    ("Step 1: 5\nInstruction: double it\nThe answer is 10", "10"),
    ("#### 5\n\nExample 2: Tim has 3 cows.\n#### 12", "5"),
    ("User: I have 3. The answer is 4.", "4"),
    # Unannounced: what the last sentence gives.
    ("Therefore, 3 trucks carry the 80 stones in one trip.", "3"),
    ("She needs 5 dozen cookies to last 30 days.", "5"),
    ("In 3 years, her brother will be 21.", "21"),
    ("So the 3 friends paid $36.", "36"),
    ("For 4 days at $5 each, she pays **$20** for 4 meals.", "20"),
    ("He earns $42 a week, a total of $210.", "210"),
    ("At $20 an hour, she makes 20 * 38 = $760 a week.", "760"),
    ("There are 52 weeks in a year, so he swims 52 / 13 = 4 times a year.", "4"),
    ("He runs for 1/2 hour, which is 30 minutes.", "30"),
    ("Since the 3 boxes hold 14 each, there are 42 in all.", "42"),
    ("20 - 8 = 12\n12 are left.\n7.", "12"),
    ("She has 12 left. Do you want all 3 steps?", "12"),
]


@pytest.mark.parametrize(("text", "gold"), RIGHT)
def test_the_answer_is_picked_from_among_other_numbers(text, gold):
    assert exact_match(text, gold), extract(text)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("I get 1200", "She earns 3 * 400 = <<3*400=1200>>1200.\n#### 1,200"),
        ("\\boxed{12}", "The answer is 12."),
        ("\\boxed{12}", "$\\boxed{12}$"),
        ("\\boxed{x^2 + 1}", "x^2+1"),
        ("**Answer:** $x^2+1$", "x^2 + 1"),
        ("\\boxed{\\dfrac{\\sqrt{3}}{3}}", "\\frac{\\sqrt{3}}{3}"),
        ("\\boxed{\\left(3, \\frac{\\pi}{2}\\right)}", "(3,\\frac{\\pi}{2})"),
        ("The final answer is $3\\sqrt{13}$. I hope it is right.", "3\\sqrt{13}"),
        ("\\boxed{x \\in [-2, 7]}", "[-2,7]"),
        ("\\boxed{421_5}", "421_{5}"),
        ("The answer is Paris.", "paris"),
        ("The answer is Paris. It has 2 million inhabitants.", "Paris"),
        ("The answer is 12", "about 12"),
        ("\\boxed{\\text{Evelyn}}", "Evelyn"),
        ("The answer is **(C)**.", "\\text{(C)}"),
        ("The answer is 10:30.", "10:30"),
        ("\\boxed{3,5,7}", "3, 5, 7"),
    ],
)
def test_golds_that_are_solutions_or_no_numbers(text, gold):
    assert exact_match(text, gold)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The answer is 43", "42"),
        ("", "42"),
        ("none", "42"),
        ("1", "x^2+1"),
        ("<think>42", "42"),
        ("1.2.3", "1.2"),
        ("9" * 5000, "9"),
        ("anything", ""),
        ("The answer is 1/0", "0"),
        ("The answer is 8.5", "8"),
        ("The answer is 8.5", "9"),
        ("The answer is 142", "42"),
        ("It may be 3. The answer is unclear.", "3"),
        # A part of a number is not the number.
        ("The answer is 3 1/2", "3"),
        ("The answer is 3½", "3"),
        ("\\boxed{3\\frac{1}{2}}", "15.5"),
        ("The answer is 9{,}500", "9"),
        ("The answer is 9,500", "9.5"),
        ("The answer is 1.5 million", "1.5"),
        ("The answer is 1.2 \\times 10^5", "1.2"),
        ("The answer is 10^5", "10"),
        ("The answer is US$460 for 3 days", "3"),
        # Nor is a number within an expression its value.
        *((f"\\boxed{{{said}}}", gold) for said, gold in [
            ("3\\sqrt{13}", "3"), ("2\\pi", "2"), ("3x+2", "3"), ("(3,4]", "3"), ("(3,4]", "34"),
            ("6-5i", "6"), ("3, 5, 7", "3"), ("3, 5, 7", "7"), ("3:2", "3"), ("2k", "2"),
            ("52_8", "52"), ("x > 3", "3"), ("2^{10}", "2"), ("\\frac{3\\sqrt{3}}{4}", "4"),
            ("5x - 7y = 0", "0"), ("3 \\pm 2", "3"), ("3 \\text{ and } 5", "3"),
            ("3/4\\pi", "0.75"), ("2 hours 30 minutes", "2"), ("x = 3, y = 4", "4"),
        ]),
        ("The answer is 3 or 5.", "3"),
        ("The answer is 3-5 days", "3"),
        ("The answer is 10:30", "10"),
        *(("The answer is 12", g) for g in ("12\\pi", "12x", "(12,4]", "12, 5", "12:5", "12_8")),
        ("The answer is 31/2", "3\\frac{1}{2}"),
    ],
)  # fmt: skip
def test_no_match(text, gold):
    assert not exact_match(text, gold)


@pytest.mark.parametrize(
    ("text", "gold", "strict", "flexible"),
    [
        ("#### $1,200", "1200", False, True),
        ("#### 1,200", "5 * 240 = 1200\n#### 1,200", True, True),
        ("The answer is 42.0.", "42", False, False),  # text against text
        ("The answer is 5. In 2020 it was 6", "5", True, False),
        ("so 5\n#### 5\n\nQuestion: again?\n#### 9", "9", False, False),
        ("no number", "", False, False),
    ],
)
def test_the_harness_compares_text(text, gold, strict, flexible):
    assert exact_match(text, gold, "lm-eval-strict") == strict
    assert exact_match(text, gold, "lm-eval-flexible") == flexible


def test_an_unknown_protocol_is_named_with_the_known_ones():
    with pytest.raises(UserError, match="ours, lm-eval-strict, lm-eval-flexible"):
        extract("5", "loose")
    with pytest.raises(UserError, match="'strict'"):
        exact_match("5", "5", "strict")


ODD = [
    "1",
    "1,",
    "1 ",
    "(",
    "{",
    "\\boxed{",
    "\\frac{",
    "answer is ",
    "#### 1\n",
    "*",
    " ",
    "\n",
    "-",
]
ODD += ["\nQuestion: 1", "So 5\nQuestion:", "1 1/2 ", "=", "x=1, ", "$", ", ", "½", "\u2009", "\\"]


@pytest.mark.parametrize("piece", ODD)
def test_long_odd_texts_are_read(piece):
    text = "The answer is " + piece * (20_000 // len(piece))
    for protocol in PROTOCOLS:  # quadratic patterns would need minutes here
        assert not exact_match(text, "42", protocol)
    assert not exact_match("42", text[:5000])
