"""The telling of the stories: numbers and a scene in; question, short and long solution out.

Wordings come from ``assets/stories.yaml`` (written for this package; its head explains the
templates). A text is put together as one template in lower case, then gets its name, pronouns and
capitals in one pass, so that whoever is met first is named. All choices are drawn from one
generator in a fixed order: another order gives other stories for the same seed.

    told = Telling(rng, "bus", start=5, changes=(3, -2))
    told.question()    ->  "5 people are on the bus. 3 people get on. Then 2 people get off. How …?"
    told.short()       ->  "3 get on, so 5 + 3 = 8. Then 2 get off, so 8 - 2 = 6."
"""

from __future__ import annotations

import random
import re
from functools import cache, cached_property
from itertools import accumulate, pairwise

from ..base import resources
from ..errors import UserError

FORMS = {"she": ("she", "her", "her"), "he": ("he", "his", "him")}
THOUGHT = (35, 110)  # words of a thought about two to four changes
EACH = 20  # further words for each change beyond four
MAX_TRIES = 200  # for one thought; two are usual


def bank() -> dict:
    """Read the wordings by name; do not change what you get."""
    return resources.asset("stories.yaml")


def numbered(template: str, n: int) -> str:
    """Put the number into a template, and of each [one|many] the form that goes with it."""
    text = re.sub(r"\[([^|\]]*)\|([^\]]*)\]", r"\1" if n == 1 else r"\2", template)
    return text.replace("{n}", str(n))


def sentences(template: str, name: str, pronoun: str, rng: random.Random | None = None) -> str:
    """Give a text its person and its capitals.

    The person is named at first, wherever another was spoken of since, and with an `rng` at the
    head of some other sentences.
    """
    forms = dict(zip(("S", "Ss", "So"), FORMS[pronoun], strict=True))
    since = None  # where the person was last the subject

    def word(match: re.Match[str]) -> str:
        nonlocal since
        key, before = match[1], template[: match.start()]
        named = since is None or key.startswith("N")
        if key == "S" and not named:
            again = rng and before.endswith((". ", "? ")) and rng.random() < 0.1
            named = bool(again or _others().search(before, since))
        if key in ("S", "N") or since is None:
            since = match.end()
        return name + "'s" * key.endswith("s") if named else forms[key]

    text = re.sub(r"\{(N|Ns|S|Ss|So)\}", word, template)
    return re.sub(r"(?:^|(?<=[.?] ))[a-z]", lambda m: m[0].upper(), text)


@cache
def _others() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(bank()['others'])})\b")


class Telling:
    """Tell one story of a scene, in wordings that are drawn once for it."""

    def __init__(
        self, rng: random.Random, scene: str, start: int, changes: tuple[int, ...]
    ) -> None:
        self.rng, self.scene = rng, bank()["scenes"][scene]
        self.start, self.changes = start, changes
        self.pronoun = rng.choice(sorted(FORMS))
        self.name = rng.choice(bank()["names"][self.pronoun])
        self.opening = rng.choice(self.scene["starts"]).replace("{n}", str(start))
        decks = {1: self._deck("ups"), -1: self._deck("downs")}
        drawn = [(next(decks[1 if c > 0 else -1]), abs(c)) for c in changes]
        self.told = [numbered(text, n) for (text, _), n in drawn]
        self.clauses = [numbered(clause, n) for (_, clause), n in drawn]

    def _deck(self, way: str):
        """Draw wordings without end, none twice before all were drawn."""
        while True:
            yield from self.rng.sample(self.scene[way], len(self.scene[way]))

    @cached_property
    def steps(self) -> list[dict]:
        """List what the templates say of each change."""
        values = pairwise(accumulate(self.changes, initial=self.start))
        return [
            _step(a, c) | {"clause": clause, "way": self.scene["ways"][c < a]}
            for (a, c), clause in zip(values, self.clauses, strict=True)
        ]

    def question(self) -> str:
        """Tell the start, the changes (some opened by when they happen) and what is asked."""
        rng, leads, k = self.rng, bank()["leads"], len(self.changes)
        mode, heads = rng.random(), [""] * k
        if mode < 0.35 and self.scene["leads"]:
            ordered = leads[rng.choice(self.scene["leads"])]
            heads = [ordered[i] for i in sorted(rng.sample(range(len(ordered)), k))]
        elif mode < 0.8:
            drawn = rng.sample(leads["plain"], k)
            heads[1:] = [lead if rng.random() < 0.6 else "" for lead in drawn[1:]]
        told = [head + text for head, text in zip(heads, self.told, strict=True)]
        ask = rng.choice(self.scene["asks"])
        return self._say(" ".join([self.opening, *told, ask]), rng)

    def short(self) -> str:
        """Solve it in one short sentence a change, each with its equation."""
        frame = self.rng.choice(bank()["short"])
        leads = ["", *self.rng.sample(bank()["short_next"], len(bank()["short_next"]))]
        told = [leads[i % len(leads)] + frame.format_map(s) for i, s in enumerate(self.steps)]
        return self._say(" ".join(told))

    def final(self) -> str:
        """Say how things stand in the end."""
        state = numbered(self.rng.choice(self.scene["state"]), self.steps[-1]["c"])
        return self._say(self.rng.choice(bank()["final"]).replace("{state}", state))

    def thought(self) -> str:
        """Think it through in one of the bank's styles, with a check, in 35 to 110 words (20 more
        for each change beyond four). Raises UserError where the bank's wordings give no such."""
        low, high = THOUGHT
        high += EACH * max(len(self.changes) - 4, 0)
        for _ in range(MAX_TRIES):
            if low <= len((text := self._thought()).split()) <= high:
                return text
        raise UserError(f"stories.yaml gives no thought of {low} to {high} words: {text!r}")

    def _thought(self) -> str:
        rng, words, steps, k = self.rng, bank()["thought"], self.steps, len(self.steps)
        style = rng.choice(words["styles"])
        state = numbered(rng.choice(self.scene["state"]), self.start)
        known = {"what": self.scene["what"], "state": state, "start": self.start}
        lines = [_filled(rng.choice(style["open"]), known)]
        heads = [rng.choice(words["first"]), *_varied(rng, words["next"], k - 1)]
        frame = rng.choice(style["step"])  # the same for all changes
        lines += [_filled(frame, s | {"lead": lead}) for lead, s in zip(heads, steps, strict=True)]
        lines += self._doubts()
        lines.append(self._check())
        lines.append(rng.choice(words["end"]).format_map(steps[-1]))
        return self._say(" ".join(lines), rng)

    def _doubts(self) -> list[str]:
        """Voice up to one doubt: of a step's direction, or whether changes are missing."""
        rng, words = self.rng, bank()["thought"]
        step, kind = rng.choice(self.steps), rng.choice(["doubt", "missed", "", ""])
        if kind == "missed":
            moves = [f"{s['dir']} {s['n']}" for s in self.steps]
            step = {"moves": f"{', '.join(moves[:-1])} and {moves[-1]}"}
        if not kind:
            return []
        return [rng.choice(words[kind]).format_map(step | _SAME)]

    def _check(self) -> str:
        """Do the sums again, or say their values in a row."""
        kind = self.rng.choice(["again", "row"])
        sums = ", ".join(s["eq"] for s in self.steps)
        values = ", ".join(map(str, [self.start, *(s["c"] for s in self.steps)]))
        return self.rng.choice(bank()["thought"][kind]).format(sums=sums, values=values)

    def _say(self, template: str, rng: random.Random | None = None) -> str:
        return sentences(template, self.name, self.pronoun, rng)


def _step(a: int, c: int) -> dict:
    """Describe the step from `a` to `c`: number, direction, equation."""
    n, plus = abs(c - a), "+-"[c < a]
    return {
        "a": a, "n": n, "c": c, "eq": f"{a} {plus} {n} = {c}",
        "dir": "up" if c > a else "down", "do": "add" if c > a else "take away",
    }  # fmt: skip


_SAME = {key: "{" + key + "}" for key in ("S", "Ss", "So")}  # filled last, by `sentences`


def _filled(template: str, values: dict) -> str:
    return template.format_map(values | _SAME)


def _varied(rng: random.Random, choices: list[str], n: int) -> list[str]:
    """`n` of the choices, no two alike beside each other where there are several."""
    picked: list[str] = []
    for _ in range(n):
        picked.append(rng.choice([c for c in choices if picked[-1:] != [c]]))
    return picked
