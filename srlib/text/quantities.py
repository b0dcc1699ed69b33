r"""Numbers as people and LaTeX write them, read by value.

``plain`` takes the typesetting off a text; ``read`` says which number a phrase states:

    ``\$9{,}500``       "9500"       ``3\frac12``, ``3½``        "7/2"
    ``1.5 million``     "1500000"    ``US$460 for 3 days``       "460"
    ``5 + 3 = 8``       "8"          ``3\sqrt{13}``, ``(3, 4]``  "" (an expression, no number)

Nothing is rounded or calculated: a number at the head of a longer expression is not its value.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_MINUS = "‐‑‒–−﹣－⁻"
_SUPERSCRIPTS = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_VULGAR = re.compile("(?<=[0-9])(?=[¼-¾⅐-⅞])")  # 3½ is 3 1/2
_SEPARATOR = r"(?:\\[,!;:> ]|\{\\[,!;: ]\}|\\thinspace\b|[~_'])\s*"
_MARKUP = (
    # Thousands: 9{,}500, 9,\!500, 9\,500, 9_500, 9'500, 1.234.567; thin spaces come as "\,".
    (re.compile(r"(?<=\d)(?:\{,\}|\\(?:text|mathord|mathpunct)\{,\})(?=\d)"), ","),
    (re.compile(rf"(?<=\d),?{_SEPARATOR}(?=\d{{3}}(?!\d))"), ""),
    (re.compile(rf"(?<=\d),{_SEPARATOR}(?=\d{{2}},)"), ","),
    (re.compile(r"(?<![\d.,])(\d{1,3})\.(\d{3})\.(\d{3})(?![\d.])"), r"\1\2\3"),
    (re.compile(r"\\(?:begin|end)\{(?:align|aligned|gather|equation|split)\*?\}|&(?=\s*=)"), " "),
    (re.compile(r"\\\\(?:\[\w{1,9}\])?"), r" \\newline "),
    (re.compile(r"\\[!\[\]()]|\\[hv]space\*?\{[^{}]{0,20}\}|\\color\{\w{0,20}\}"), " "),
    (re.compile(r"\\(?:left|right|[bB]ig+[lr]?|displaystyle|[lL]arge|bf|rm)(?![A-Za-z])"), " "),
    (re.compile(r"\\boxed[ ]([^\s{}$\\]+)"), r"\\boxed{\1}"),
    (re.compile(r"(?<=\d) and a half\b"), " 1/2"),
    (re.compile(r"(?<=\d) and a quarter\b"), " 1/4"),
    (re.compile(r"\\[,;:> ]|\\q?quad(?![A-Za-z])|&nbsp;|[~]"), " "),
    (re.compile(r"</?(?:b|strong|i|em|u|br|p|span|code)\s*/?>", re.IGNORECASE), " "),
    (re.compile(r"\\(?:\$|pounds|euro|textdollar|texteuro)(?![A-Za-z])"), "$"),
    (re.compile(r"\\([%#&_])"), r"\1"),
    (re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ(?![a-z]))|\\degree(?![A-Za-z])"), "°"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])|[·⋅✕]"), "×"),
    (re.compile(r"\\(?:approx|sim|simeq)(?![A-Za-z])"), "≈"),
    (re.compile(r"\^\{\s*(-?\d+)\s*\}"), r"^\1"),
)
_WRAPPED = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|normal)?|math(?:bf|rm|it|sf|tt)|mbox|hbox|emph|operatorname|"
    r"boldsymbol|bm|underline)\*?\s*\{([^{}]*)\}"
)
_PART = r"(?:\{\s*([^{}]{1,40}?)\s*\}|(\d))"
_FRACTION = re.compile(rf"(\d?)[ ]?\\(?:[dtcs]?frac|nicefrac)\s*{_PART}\s*{_PART}")
_PLAIN_NUMBER = re.compile(r"-?[\d,]*\.?\d+")
_CODE = re.compile(
    r"\b(?:Rs\.?|INR|PKR|USD|EUR|GBP|CAD|AUD|NZD|JPY|CNY|RMB|CHF|SGD|HKD|SEK|NOK|DKK|KRW|BRL|ZAR)"
    r"\s?(?=\$?\s?-?\.?\d)|\b(?:US|AU|CA|NZ|HK|S|C|A|R)\s?(?=\$\s?-?\.?\d)"
)
_SIGN_WORD = re.compile(
    r"\bnegative\s+(?=\$?\.?\d)|(?<![\d)$%]\s)(?<!\b[a-z]\s)\bminus\s+(?=\$?\.?\d)", re.I
)

_DIGITS = r"(?:(?:\d+(?:,\d{2,3})*,\d{3}(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_SCALES = {"hundred": 10**2, "thousand": 10**3, "k": 10**3, "lakh": 10**5, "million": 10**6}
_SCALES |= {"mn": 10**6, "m": 10**6, "crore": 10**7, "billion": 10**9, "bn": 10**9, "b": 10**9}
_SCALES |= {"trillion": 10**12}
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_SMALL += " fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: i for i, word in enumerate(_SMALL.split())}
_WORDS |= {word: 10 * i for i, word in enumerate(_TENS.split(), start=2)}
_WORDED = re.compile(
    r"[\s*_`$:(\"]*(?:only\s|just\s|exactly\s|about\s)?(?P<sign>(?:negative|minus)\s)?(?P<words>"
    rf"(?:{'|'.join(_WORDS)})"
    rf"(?:(?:[\s-]|\sand\s)(?:{'|'.join(_WORDS)}|hundred|thousand|million|billion)\b)*)"
    r"\b(?!\s+(?:of|half|third|quarter|fourth|fifth)|-)",
    re.IGNORECASE,
)
# A minus right after a word, a number or a bracket is a hyphen or a subtraction: "3-5 days".
NUMBER = re.compile(
    rf"(?<![\d.])(?P<sign>(?<![\w)\]}}])-)?(?P<money>\$\s?)?(?P<sign2>(?<![\w)\]}}])-\s?)?"
    rf"(?<![\d.])(?:(?P<power>\d{{1,4}})\s?(?:\^|\*\*)\s?(?P<of>-?\d{{1,3}})(?![\d.])|"
    rf"(?P<digits>{_DIGITS})"
    r"(?:(?:\s+(?:and\s+)?|\s?-\s?)(?P<over>\d+)\s?/\s?(?P<under>\d+)(?![\d/])"
    r"|\s?/\s?(?P<by>\d+(?:\.\d+)?)(?![\d/]))?"
    r"(?:[eE](?P<e>[-+]?\d{1,3})(?![\w])"
    r"|\s?[×x*]\s?10\s?(?:\^|\*\*)\s?[({]?(?P<ten>[-+]?\d{1,3})[)}]?)?"
    r"(?:\s{0,3}(?P<scale>(?i:hundred|thousand|lakh|million|crore|billion|trillion|mn|bn))s?\b"
    r"|(?P<letter>[kKmMbB])\b)?)"
)
# What may stand before and after the number of a phrase, and be no part of it.
_LEAD = re.compile(r"[\s:=+—*_`$\\({\[≈~<>\"“”'‘’→]+")
_TAIL = re.compile(r"[\s*_`$\\)}\]>.,;:!?…\"“”'‘’]+\Z")
_HEDGE = re.compile(
    r"(?:(?:therefore|thus|hence|simply|just|only|exactly|approximately|approx\.?|about|around|"
    r"roughly|nearly|almost|equal\s+to|a\s+total\s+of|at\s+(?:least|most)|[a-zA-Z]\s*=)[\s,:$*]*)+",
    re.IGNORECASE,
)
_FOLLOWED = re.compile(
    r"(?:['\"%°]|\s)*(?:\Z|[-–—]{1,2}\s+[a-z]|[.,;:!?…)\]}*_`$\"”’]+(?=\s*\Z|\s+[A-Za-z(*])|\("
    r"|(?!(?:pi|sqrt|plus|minus|mod|divided|over|squared|cubed|choose|to\s+the\s+power)\b"
    r"|(?:to|or|and|by|times)\s+\W*\d)[A-Za-z]{2,}|an?\s+[a-z]"
    r"|/\s?(?:[A-Za-z]{2,}|[hsgmlL])\b"
    r"|[mgshlLWVJNCFKA](?=(?:\^-?\d)?(?:\s?[/×]\s*\w+(?:\^-?\d)?)?[\s.)\]*_$]*\Z))"
)
_LIST = re.compile(r"(?:\s*(?:,|;|\band\b|\bor\b))+\s*-?\$?\.?\d[\d.,%°\s;$\-]*[)\]}.*$\s]*\Z")
_COMPOUND = re.compile(
    r"\s*(?:hours?|minutes?|feet|foot|ft|dollars?|pounds?|days?|weeks?|years?|yards?)"
    r"[\s,]*(?:and\s+)?\d+\s*[a-z]+[\s.]*\Z"
)
_REMARK = re.compile(r"(?<=[\s\w.%$*])[(\[](?=[^()\[\]]*[A-Za-z=])[^()\[\]]*[)\]]?")
_REASON = re.compile(
    r"[\s,]\(?(?:because|since|assuming|given that|where|which|so that|i\.e\.|check:|note:)\s", re.I
)
_ALGEBRA = re.compile(
    r"\d[a-wyzA-WYZ](?![A-Za-z\d])|\d[xX](?![A-Za-z\d\s])|(?<![A-Za-z])[a-zA-Z]\s*(?:\^|[-+*/])"
    r"|[-+*/]\s*[a-zA-Z](?![A-Za-z])|\\(?!text|newline)[a-z]{2,}"
)
_WORD = re.compile(r"(?<![\\A-Za-z])(?!sqrt)[A-Za-z]{3,}|[\u0370-\U0001f000]{2}")
# A number after these is one that was given, where the sentence has another.
_GIVEN = re.compile(
    r"(?:\b(?:in|for|after|over|within|from|by|at|on|the|these|those|all|her|his|their|its|every|"
    r"each|per|with|between|than|step|day|next|last|first|both|another|if|when)"
    r"|(?<!total)(?<!sum)(?<!average)(?<!profit)(?<!amount)(?<!maximum)(?<!minimum)(?<!mean)"
    r"(?<!cost)(?<!price)(?<!distance)(?<!speed)(?<!area)\s+of)\s+[$*_(]*\Z",
    re.IGNORECASE,
)
_WHICH = re.compile(r"\bwhich\s+(?:is|are|means|equals|rounds)\b")
_CONDITION = re.compile(
    r"\A\W*(?:(?:so|then|thus|therefore)\W+)?(?:if|when|since|because|as|for|after|in|with|at)\b[^,]*,\s",
    re.I,
)
_TOTAL = re.compile(r"\ba total of\s+[$*\\(]*(?=\.?\d)")
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")


def plain(text: str) -> str:
    """Return the text in ASCII digits, signs and simple fractions, without LaTeX or typesetting."""
    if not text.isascii():
        text = _SUPERSCRIPTS.sub(lambda m: f"^{{{unicodedata.normalize('NFKC', m[0])}}}", text)
        text = _VULGAR.sub(" ", text)
        text = text.translate({ord(c): _plain_character(c) for c in set(text) if c > "\x7f"})
    for pattern, to in _MARKUP:
        text = pattern.sub(to, text)
    for _ in range(3 if "\\" in text else 0):
        text = _WRAPPED.sub(r" \1 ", text)
    if "frac" in text:
        text = _FRACTION.sub(_fraction, text)
    return _SIGN_WORD.sub("-", _CODE.sub("", text))


def _plain_character(c: str) -> str:
    kind = unicodedata.category(c)
    if c in _MINUS or kind == "Nd":
        return "-" if c in _MINUS else str(unicodedata.decimal(c))
    if kind in ("Cf", "Sc"):
        return "" if kind == "Cf" else "$"
    if kind == "Zs":
        return " " if c == "\u3000" else "\\,"
    shape = unicodedata.decomposition(c).partition(" ")[0]
    if shape == "<fraction>":
        return unicodedata.normalize("NFKC", c).replace("\u2044", "/")
    if shape == "<sub>":
        return "_" + unicodedata.normalize("NFKC", c)
    if shape in ("<wide>", "<circle>"):
        return unicodedata.normalize("NFKC", c)
    return {"’": "'", "√": "\\sqrt ", "π": "\\pi ", "⁄": "/", "≃": "≈", "∼": "≈"}.get(c, c)


def _fraction(match: re.Match) -> str:
    over, under = match[2] or match[3], match[4] or match[5]
    if not (_PLAIN_NUMBER.fullmatch(over) and _PLAIN_NUMBER.fullmatch(under)):
        return match[0]
    return f"{match[1]}{' ' if match[1] else ''}{over}/{under}"


def written(match: re.Match) -> str | None:
    """Return a match of ``NUMBER`` as a plain number: as it is written, else by value ("7/2")."""
    sign = "-" if match["sign"] or match["sign2"] else ""
    letter = (match["letter"] or "").lower()
    money = match["money"] or "$" in match.string[max(0, match.start() - 2) : match.start()]
    if letter and (not money or match.string[match.end() :].startswith("$")):
        return None  # 5m are metres, 2k is an expression, $5m and $2k are millions and thousands
    if match["power"]:
        power = Fraction(match["power"]) ** int(match["of"]) if int(match["power"]) else Fraction(0)
        return sign + str(power)
    digits = match["digits"].replace(",", "")
    parts = ("over", "e", "ten", "scale", "letter")
    if not any(match[part] for part in parts):
        return sign + digits + (f"/{match['by']}" if match["by"] else "")
    try:
        value = Fraction(digits) / Fraction(match["by"] or 1)
        value += Fraction(int(match["over"] or 0), int(match["under"] or 1))
        value *= Fraction(10) ** int(match["e"] or match["ten"] or 0)
        return sign + str(value * _SCALES.get((match["scale"] or letter).lower(), 1))
    except (ValueError, ZeroDivisionError):  # 1/0, or too long for Python to read or write
        return None


def same(left: str, right: str) -> bool:
    """Return whether two are one number, exactly; what is no number ("1.2.3") equals none."""
    try:
        return _value(left) == _value(right)
    except (ValueError, ZeroDivisionError):
        return False


def _value(number: str) -> Fraction:
    over, _, under = number.partition("/")
    return Fraction(over) / Fraction(under or 1)


def read(phrase: str) -> str | None:
    """Return the number that a plain phrase states; "" for an expression, None for nothing.

    The whole phrase but for hedges and units, else the right side of an equation, else of a
    sentence the first number that is not one of its conditions ("in 3 days").
    """
    phrase = _REASON.split(_REMARK.sub(" ", phrase), maxsplit=1)[0]
    number, sides = None, phrase.split("=")
    several = len(sides) > 2 and re.search(r"(?:,|\band)\s*[a-z]\s*\Z", sides[-2])
    if len(sides) > 1 and not several and not _ALGEBRA.search(phrase):
        number = next(filter(None, map(whole, reversed(sides))), None)
    number = whole(phrase) if number is None else number
    number = _worded(phrase) if number is None else number
    if number is not None or re.search(r"[A-Za-z\\\d]", phrase) is None:
        return number
    return (of_sentence(phrase) if _WORD.search(phrase) else None) or ""


def whole(phrase: str) -> str | None:
    """Return the number that is all of a phrase but for a lead, and a unit or words after it."""
    start = 0
    for pattern in (_LEAD, _HEDGE, _LEAD):
        lead = pattern.match(phrase, start)
        start = lead.end() if lead else start
    dashed = re.match(r"-[\s$\\(]*(?=[\d.])", phrase[start:])
    match = NUMBER.match(phrase, start + dashed.end() if dashed else start)
    if match is None or not _ends(phrase, match):
        return None
    number = written(match)
    if number is None and match["letter"] == "m":
        number = match["digits"].replace(",", "")
    return f"-{number}" if dashed and number else number


def _worded(phrase: str) -> str | None:
    """Read a number in words at the head of a phrase without digits: "forty-two apples" is "42"."""
    match = _WORDED.match(phrase)
    if match is None or re.search(r"\d", phrase):
        return None
    total = part = 0
    for word in re.findall(r"[a-z]+", match["words"].lower()):
        if word == "hundred":
            part *= 100
        elif word in _SCALES:
            total, part = total + part * _SCALES[word], 0
        else:
            part += _WORDS.get(word, 0)
    return ("-" if match["sign"] else "") + str(total + part)


def _ends(phrase: str, match: re.Match) -> bool:
    """Return whether the phrase's expression ends with this number."""
    rest = phrase[match.end() : match.end() + 200]
    if _LIST.match(rest) or _COMPOUND.match(rest):
        return False
    return bool(_FOLLOWED.match(rest)) or not _TAIL.sub("", rest).strip(" $*\\")


def of_sentence(sentence: str) -> str | None:
    """Return the number that a sentence gives: a bold one, else the first that is no condition."""
    bold = [number for part in _BOLD.findall(sentence) if (number := whole(part))]
    if bold:
        return bold[-1]
    total = _TOTAL.search(sentence)
    stated = given = None
    for match in NUMBER.finditer(sentence):
        if _GIVEN.search(sentence, max(0, match.start() - 40), match.start()):
            given = match
        else:
            stated = match
            break
    match = (total and NUMBER.match(sentence, total.end())) or stated or given
    return written(match) if match and _ends(sentence, match) else None


def concluded(sentence: str) -> str | None:
    """Return the number that a last sentence comes to: that of its last equation, of "which is …"
    where it goes on so, else of what follows its conditions; None for none."""
    sentence = _REMARK.sub(" ", sentence)
    clause = _WHICH.split(sentence)[-1]
    sentence = clause if re.search(r"\d", clause) else sentence
    _, equals, after = sentence.rpartition("=")
    if equals:
        match = NUMBER.match(after, lead.end() if (lead := _LEAD.match(after)) else 0)
        if match and _ends(after, match):
            return written(match)
    rest = _CONDITION.sub("", sentence, count=1)
    sentence = rest if re.search(r"\d", rest) else sentence
    return read(sentence) or last(sentence)


def last(text: str) -> str | None:
    """Return the last number of a text; None for none."""
    numbers = [n for n in map(written, NUMBER.finditer(text)) if n is not None]
    return numbers[-1] if numbers else None
