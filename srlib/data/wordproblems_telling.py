"""The telling of the word problems: a solved plan in, the question and the long thought out.

Wordings come from ``assets/wordproblems.yaml`` (written for this package; its head explains the
templates). Every choice is drawn from the generator that the problem was drawn from, in a fixed
order: another order of draws gives other problems for the same seed.

Example: a `Teller` of the family "shopping" makes of "{S} chooses {ay} for {p} {money}." with p=26
and money="dinars" the sentence "Hana chooses an umbrella for 26 dinars.".
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import Any

from ..base import resources

Segment = dict[str, Any]  # a start, move or end as in the YAML


@lru_cache(maxsize=1)
def wordings() -> dict[str, Any]:
    """The wordings by name, each segment with its `size` in steps; do not change what you get."""
    bank = resources.asset("wordproblems.yaml")
    for family in bank["families"].values():
        for segment in family["starts"] + family["moves"] + family["ends"]:
            calcs, says = segment.get("calc", []), segment.get("say", [])
            segment["calc"] = [c.split() for c in ([calcs] if isinstance(calcs, str) else calcs)]
            segment["say"] = [says] if isinstance(says, str) else says
            segment["size"] = sum(len(c) == 5 for c in segment["calc"])
            segment["other"] = "{T}" in str(segment)
    return bank


class Teller:
    """Fills templates: first the name, then mostly the pronoun; one choice of nouns a problem."""

    def __init__(self, rng: random.Random, family: dict[str, Any]) -> None:
        self.rng, self.met = rng, False
        names, forms = wordings()["names"], {"she": ("her", "her"), "he": ("his", "him")}
        own, other = rng.sample(["she", "he"], 2)
        self.name, second = rng.choice(names[own]), rng.choice(names[other])
        self.pronouns = {"S": own, "Ss": forms[own][0], "So": forms[own][1]}
        rest = [n for n in names["she"] + names["he"] if n not in (self.name, second)]
        self.chain = [self.name, *rng.sample(rest, 5)]
        self.names = (*self.chain, second)
        self.words = {"N": self.name, "Ns": f"{self.name}'s", "T": second}
        for key, bank in family["pick"].items():
            free = [
                e for e in wordings()["words"][bank] if e.split("|")[-1] not in self.words.values()
            ]
            one, *many = rng.choice(free).split("|")
            article = "an" if one[0] in "aeiou" else "a"
            self.words |= {
                key: many[0] if many else one,
                f"{key}1": one,
                f"a{key}": f"{article} {one}",
            }

    def __call__(self, template: str, at: int = 0, lead: str = "", **numbers: Any) -> str:
        """The sentence; `at` counts the people of a chain, `lead` comes before it."""
        self.met = self.met and self.rng.random() > 0.15
        people = {"X": self.chain[at], "Y": self.chain[at + 1], "W": self.chain[at - 1]}

        def word(match: re.Match[str]) -> str:
            key = match[1]
            if key not in self.pronouns and key not in ("N", "Ns"):
                return str({**self.words, **people, **numbers}[key])
            by_name, self.met = not self.met or key[0] == "N", True
            return self.words["Ns" if key.endswith("s") else "N"] if by_name else self.pronouns[key]

        text = re.sub(r"\{(\w+)\}", word, template)
        if text.startswith(("So ", "Now ")):
            lead = ""
        if lead and not text.startswith(self.names):
            text = text[0].lower() + text[1:]
        return (lead + text)[0].upper() + (lead + text)[1:]


def tell_question(
    tell: Teller, family: dict[str, Any], plan: list[Segment], drawn: list, distractor: int | None
) -> str:
    """The question's text: scene, story, what is given at the end and what is asked."""
    rng, words, end = tell.rng, wordings()["question"], plan[-1]
    story = [(max(i - 1, 0), rng.choice(s["text"]), drawn[i]) for i, s in enumerate(plan[:-1])]
    for i, (at, text, numbers) in enumerate(story):
        if i > 1 and text.startswith("{S} ") and " then " not in text and rng.random() < 0.4:
            story[i] = (at, rng.choice(words["then"]) + text, numbers)
    if family.get("shuffle"):
        rng.shuffle(story)
    last = (len(plan) - 2, drawn[-1])
    if "given" in end:
        story.append((last[0], rng.choice(end["given"]), last[1]))
    if rng.random() < 0.35:
        story.insert(0, (0, rng.choice(family["scene"]), {}))
    if distractor:
        story.insert(
            rng.choice([0, len(story)]), (0, rng.choice(family["extra"]), {"d": distractor})
        )
    mode, ask = rng.random(), end["ask"]
    if mode < 0.15:
        story.insert(0, (last[0], rng.choice(words["ask_first"]).replace("{ask}", ask), last[1]))
    elif mode < 0.3:
        story.append((last[0], rng.choice(words["ask_last"]).replace("{ask}", ask), last[1]))
    else:
        story.append((last[0], rng.choice(end["how"]), last[1]))
    return " ".join(tell(text, at, **numbers) for at, text, numbers in story)


def tell_thought(tell: Teller, ask: str, question: str, steps: list, distractor: int | None) -> str:
    """The long chain of thought, 80-200 words; one in three has a slip that is put right."""
    rng, words, k = tell.rng, wordings()["thought"], len(steps)
    tell.met = False
    lines = [rng.choice(words["open"]).replace("{ask}", ask)]
    lines.append(rng.choice(words["numbers"]).format(nums=", ".join(re.findall(r"\d+", question))))
    if distractor:
        lines.append(rng.choice(words["distractor"]).format(d=distractor))
    if k < 3 or (k == 3 and rng.random() < 0.6):
        lines.append(rng.choice(words["plan"]))
    leads = [rng.choice(words["first"]), *rng.sample(words["next"], k - 1)]
    slip, trap = rng.randrange(3 * k), rng.randrange(k)
    for i, step in enumerate(steps):
        if i == trap:
            lines.append(rng.choice(words["trap"][step["op"]]).format(**step))
        eq = step["eq"]
        if i == slip and eq.endswith(f"= {step['c']}"):
            wrong = rng.choice(
                [n for d in (1, 2, 10) for n in (step["c"] - d, step["c"] + d) if n > 0]
            )
            eq = rng.choice(words["slip"]).format(
                bad=eq.replace(f"= {step['c']}", f"= {wrong}"), eq=eq
            )
        lines.append(tell(step["say"], lead=leads[i], **{**step, "eq": eq}))
    if k < 3 or rng.random() < 0.5:
        lines.append(words["size"][steps[-1]["op"]].format(**steps[-1]))
    undone = [wordings()["undone"][s["op"]].format(**s) for s in reversed(steps)]
    sums, how = (undone, "back") if rng.random() < 0.6 else ([s["eq"] for s in steps], "again")
    lines.append(rng.choice(words[how]).format(sums=", then ".join(sums)))
    lines.append(rng.choice(words["end"]).format(**steps[-1]))
    return " ".join(lines)
