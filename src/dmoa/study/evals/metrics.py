"""Is an answer right? Exact, contains and numeric, for items with known answers.

Small models ramble, and large ones explain. So each metric looks for the one thing that was
answered in the end, and compares that; a text that says several things is not searched for a
right one among them. All are strict in doubt: who did not commit to an answer did not give it.
What they cannot see is stated with each; they are meant for questions that ask for a short
answer, as ours do, and read English phrases around it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from dmoa.study.evals.records import Item

WORDS_AT_AN_END = 40
"""`contains` reads as many words at the beginning of a text, and as many at its end."""
TEXT_MAX = 20_000
"""Characters of an output that are read, half of them at each end."""
_RIVALS = 3  # other short entries that make an answer one of a list
_SHORT = 3  # words of an entry of a list, at most
_REACH = 3  # words between a `not` and what it denies


def score(item: Item, output: str) -> float | None:
    """Compare an output with what is right: 1.0 or 0.0, and None where only a judge can tell.

    What stands between `<think>` and `</think>` is not the answer.

    `exact`: the final answer is one of `item.answers`, but for case, accents, quotes, markdown,
    punctuation around words and what separates them (commas, lines). The final answer stands
    after `Answer:` or `the answer is`; else it is the last sentence that consists of, or ends
    after `is`, `:` and the like with, as many words as an answer has.

    `contains`: one of `item.answers` stands in the output as whole words, is not denied (`not
    12`, `12 is wrong`), is not offered beside others (`X or Y`, an entry in a list), and is in
    the `WORDS_AT_AN_END` first or last words. Where the question itself names the answer,
    repeating it is none, and `exact` decides. It cannot see a denial, or a change of mind, in
    other words.

    `numeric`: the final number equals one of `item.answers` to 1e-6 of its size. It is boxed, or
    stands after `answer`, or alone as a sentence (the last such), or after the last `=`; else it is
    the last number that is neither denied nor one of the question's. Thousands separators,
    signs, fractions, units and number words are read. It cannot see that a number is a remark.
    """
    if not item.metric:
        return None
    thought, _, said = output.rpartition("</think>")
    output = "" if not thought and said.lstrip().startswith("<think>") else said
    half = TEXT_MAX // 2
    text = output if len(output) <= TEXT_MAX else f"{output[:half]}\n{output[-half:]}"
    text = "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    match item.metric:
        case "exact":
            right = _exact(item.answers, text)
        case "contains":
            right = _contains(item, text)
        case "numeric":
            right = _numeric(item, text)
    return 1.0 if right else 0.0


# -- text -------------------------------------------------------------------------------

_QUOTES = str.maketrans(
    "\u2018\u2019\u201c\u201d\u2212\u2010\u2011\u00a0\u202f\u2009", "''\"\"---   "
)
_ACCENTS = re.compile(r"[\u0300-\u036f]+")
_BULLET = re.compile(r"^(?:[-*\u2022>#]+ +)+", re.MULTILINE)
_COUNTED = re.compile(r"^\(?\d{1,2}[.)] +", re.MULTILINE)
_MARK = re.compile(
    r"\b(?:answer|solution|result)\b['\"*_\s]*(?:is\b|:|=)[:\s]*|\\boxed\s*\{\s*", re.IGNORECASE
)
_SENTENCES = re.compile(r"(?<=[.!?;])\s+|\n+")
_DENIED = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|unlike|instead of|rather than)|n't)"
    rf"(?:\s+[\w']+){{0,{_REACH}}}\s*['\"($-]*$"
)
_CLAUSE = re.compile(r"[,.;:!?\n]|\bbut\b")


def _plain(text: str) -> str:
    """Take off what does not matter: case, accents, kinds of quotes, markdown."""
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES)).casefold()
    text = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    text = unicodedata.normalize("NFC", text)
    return _unlisted(re.sub(r"\*\*|__|`|\*(?=\w)|(?<=\w)\*", "", text))


def _unlisted(text: str) -> str:
    """Take off what begins the lines of a list; `13.` begins none unless something was first."""
    text = _BULLET.sub("", text)
    return _COUNTED.sub("", text) if re.search(r"^\(?1[.)] ", text, re.MULTILINE) else text


def _marked(text: str) -> str | None:
    """Find what follows the last `answer is`, as far as its line goes."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    after = marks[-1]
    rest = text[after.end() :].lstrip()
    end = re.search(r"\}" if "boxed" in after[0] else r"\n", rest)
    return (rest if end is None else rest[: end.start()]).strip() or None


def _is_denied(text: str, start: int) -> bool:
    """Tell whether the clause before a place denies what stands there."""
    before = text[max(0, start - 80) : start]
    return _DENIED.search(_CLAUSE.split(before)[-1]) is not None


# -- exact ------------------------------------------------------------------------------

_COPULA = re.compile(
    r"\s*(?::(?!\d)|=>?|->|\u2192)\s*|'s\s|\b(?:is|are|was|were|be|becomes|equals)\s"
)
_TRAILER = re.compile(r",?\s+(?:because|since|which|as|but|so|not|rather|instead)\b|\s\(")
_SO = re.compile(r"(?:so|thus|therefore|hence|finally)\b")
_EMPTY = {"answer", "solution", "correct", "right"}  # said of an answer, and none
_CHATTER = {"sure", "certainly", "okay", "ok", "thanks"}
_TAIL = re.compile(r":\s+|=>|->|\u2192")
_ARTICLES = {"the", "a", "an"}
_NOUNS = {
    "letter",
    "letters",
    "word",
    "words",
    "number",
    "numbers",
    "year",
    "date",
    "time",
    "month",
}
_PRONOUNS = {"it", "that", "this", "there", "here", "which", "what", "they", "so"}


def _tokens(text: str) -> tuple[str, ...]:
    """Split into words, without what stands around and between them."""
    found = [
        each.lstrip("\"'([{<.!?:" if not re.match(r"\.\d", each) else "").rstrip("\"')]}>.!?:")
        for each in re.split(r"[\s,;|]+", text)
    ]
    found = [each for each in found if each.strip("-")]
    for passed in (_ARTICLES, _NOUNS):
        if len(found) > 1 and found[0] in passed:
            found = found[1:]
    return tuple(found)


def _exact(answers: Sequence[str], text: str) -> bool:
    right = {_tokens(_plain(each)) for each in answers}
    if () in right:  # an answer of signs alone has no words to compare
        return text.strip() in answers
    said = _plain(text)
    return _final(said, {len(each) for each in right}) in right


def _final(text: str, sizes: Iterable[int]) -> tuple[str, ...] | None:
    """Find the final answer, which has one of these numbers of words."""
    marked = _marked(text)
    sentences = [each for each in _SENTENCES.split(marked or text) if each.strip()]
    if marked is not None:  # its beginning counts
        parts = [piece for each in [*sentences, marked] for piece in _pieces(each)]
    else:  # a list over several lines, a conclusion, an answer alone; else whatever was said last
        ends = sentences[::-1]
        parts = [text]
        parts += [piece for each in ends[:1] if _SO.match(each) for piece in _pieces(each)]
        parts += [each for part in ends for each in (part, _TAIL.split(part)[-1])]
        parts += [piece for each in ends for piece in _pieces(each)]
    for part in parts:
        found = _tokens(part)
        if len(found) in sizes and not _CHATTER.issuperset(found):
            return found
    return None


def _pieces(sentence: str) -> list[str]:
    """List the places of a sentence where an answer stands, the likeliest first."""
    found: list[str] = []
    for part in (_TRAILER.split(sentence)[0], sentence):
        found.append(part)
        head, *others = _COPULA.split(part)
        if others and not _EMPTY.intersection(_tokens(others[-1])):
            found.append(_TRAILER.split(others[-1])[0])
        if others and not _PRONOUNS.intersection(_tokens(head)):
            found.append(head)
    return found


# -- contains ---------------------------------------------------------------------------

_HERE = "\x00"  # stands for a right answer
_WRONG = re.compile(
    rf"{_HERE}['\")]*,?\s*"
    r"(?:(?:is|are|was|were)(?:n't|\s+not)|(?:is|would be)\s+(?:wrong|incorrect))\b"
    rf"|{_HERE}'s\s+\w|{_HERE}.{{0,60}}\bbut\b.{{0,30}}\bactually\b"
)
_EITHER = re.compile(rf"{_HERE}['\")]*,?\s*or\b|\bor\s+(?:(?:the|a|an)\s+)?['\"(]*{_HERE}")


def _whole(answer: str) -> str:
    """Write the pattern of an answer as whole words; CJK text has no spaces around them."""
    begin = r"(?<!\w)" if answer[0].isalnum() and answer[0] < "\u2e80" else ""
    end = r"(?!\w)" if answer[-1].isalnum() and answer[-1] < "\u2e80" else ""
    return begin + re.escape(answer).replace(r"\ ", r"\s+") + end


def _contains(item: Item, text: str) -> bool:
    question = _plain("\n".join(item.turns))
    answers = sorted({" ".join(_plain(each).split()) for each in item.answers}, key=len)
    patterns = [_whole(each) for each in reversed(answers) if each]
    if not patterns:
        return False
    pattern = re.compile("|".join(patterns))
    said = _plain(text)
    marked = _marked(said)
    said = _ends(said if marked is None else marked)
    if pattern.search(question):
        return _exact(item.answers, text)
    said = pattern.sub(_HERE, said.replace(_HERE, " "))
    said = re.sub(rf"{_HERE}(?:\s*\(?(?:\s*or\s+(?:the\s+)?)?{_HERE}\)?)+", _HERE, said)
    known = set(_tokens(question))
    return any(
        _is_meant(sentence, place.start())
        for sentence in _joined(said, known)
        if _HERE in sentence and not _is_listed(sentence, known)
        for place in re.finditer(_HERE, sentence)
    )


def _ends(text: str) -> str:
    """Keep the beginning and the end of a long text."""
    words = list(re.finditer(r"\S+", text))
    if len(words) <= 2 * WORDS_AT_AN_END:
        return text
    first, last = words[WORDS_AT_AN_END - 1].end(), words[-WORDS_AT_AN_END].start()
    return f"{text[:first]}\n{text[last:]}"


def _joined(text: str, known: set[str]) -> list[str]:
    """Split into sentences; many short lines are one list."""
    lines = [each for each in text.split("\n") if each.strip()]
    short = [each for each in lines if len(each.split()) <= _SHORT and _tokens(each)]
    if sum(_HERE not in each and not known.issuperset(_tokens(each)) for each in short) >= _RIVALS:
        lines = [each for each in lines if each not in short] + [", ".join(short)]
    return [part for line in lines for part in re.split(r"(?<=[.!?])\s+", line)]


def _is_meant(sentence: str, start: int) -> bool:
    here = sentence[start:]
    around = sentence[max(0, start - 20) : start + 20]
    return (
        not _is_denied(sentence, start)
        and _WRONG.match(here) is None
        and _EITHER.search(around) is None
    )


def _is_listed(sentence: str, known: set[str]) -> bool:
    """Tell whether the answer is one entry of a list; words of the question are no rivals."""
    entries = [_tokens(each) for each in re.split(r"[,;/|]|\band\b|\bor\b", sentence)]
    rivals = [each for each in entries if 1 <= len(each) <= _SHORT and not known.issuperset(each)]
    rivals = [each for each in rivals if _HERE not in "".join(each)]
    return len(rivals) >= _RIVALS


# -- numeric ----------------------------------------------------------------------------

_NUMBER = re.compile(
    r"(?<![^\W\d_])(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|(?<!,)\d+,\d{1,2}(?![\d,])"
    r"|\d+(?:\.\d+)?(?:e[+-]?\d{1,3}(?!\w))?|(?<!\d)\.\d+)",
    re.ASCII | re.IGNORECASE,
)
_SIGN = re.compile(r"(?:(?:^|[^\w)\s])\s*|(?:^|\s)|\b(?:is|equals)\s+)-\s*$|(?:^|[^\w)])-$")
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORTH = (
    {word: value for value, word in enumerate(_ONES.split())}
    | {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
    | {"once": 1, "twice": 2}
)
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_WORD = rf"(?:{'|'.join([*_WORTH, *_SCALES])})"
_WORDED = re.compile(rf"\b(minus\s+)?({_WORD}(?:(?:[\s-]+|\s+and\s+){_WORD})*)\b")
_EVEN = str.maketrans(
    {"\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2044": "/"}
    | dict.fromkeys("\u00a0\u202f\u2009", " ")
)
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"(?<=\d)(?:\{,\}|\\,|['\u2019_]|[\u00a0\u202f\u2009 ])(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}"), r" \1"),
    (re.compile(r"\\[$%]|\*\*|\$"), ""),
)
_BARE = re.compile(r"[^\w-]*-?(?:\S*\d\S*)(?:\s+[^\W\d]+){0,2}\W*", re.ASCII)
_LINE = 60  # characters of one that holds a number alone
_BEYOND = re.compile(r"\s*(?:[-+*/x\u00d7\u00f7]|times|plus|minus|divided by)\s*\(?-?\d")


def _numeric(item: Item, text: str) -> bool:
    right = [value for each in item.answers for _, value in _numbers(_even(each))[:1]]
    found = _final_number(_even(text), {each for _, each in _numbers(_even(item.turns[-1]))})
    return found is not None and any(
        math.isclose(found, each, rel_tol=1e-6, abs_tol=1e-9) for each in right
    )


def _even(text: str) -> str:
    for pattern, instead in _LATEX:
        text = pattern.sub(instead, text)
    return _unlisted(unicodedata.normalize("NFC", text).translate(_EVEN))


def _numbers(text: str) -> list[tuple[int, float]]:
    """Read all numbers, each with its place; those in words only where there are no others."""
    found: list[tuple[int, float]] = []
    end = 0
    for each in _NUMBER.finditer(text):
        if each.start() < end:
            continue
        end = each.end()
        comma = each[0].count(",") == 1 and len(each[0].rpartition(",")[2]) < len("000")
        value = float(each[0].replace(",", "." if comma else ""))
        if below := re.match(r"/(\d{1,15})(?![\d/])", text[end : end + 20]):
            value = value / float(below[1]) if float(below[1]) else math.nan
            end += below.end()
        before = text[max(0, each.start() - 12) : each.start()]
        found.append((each.start(), -value if _SIGN.search(before) else value))
    return found or [
        (each.start(), -_worth(each[2]) if each[1] else _worth(each[2]))
        for each in _WORDED.finditer(text.lower())
    ]


def _worth(words: str) -> float:
    """Read a number such as `two hundred and seven`."""
    whole = part = 0
    for word in re.findall(r"[a-z]+", words):
        if word in _WORTH:
            part += _WORTH[word]
        elif word == "hundred":
            part = max(part, 1) * _SCALES[word]
        elif word in _SCALES:
            whole, part = whole + max(part, 1) * _SCALES[word], 0
    return float(whole + part)


def _final_number(text: str, asked: set[float]) -> float | None:
    """Find the number that is answered in the end; `asked` are those of the question."""
    marked = _marked(text)
    if marked is not None and (found := _kept(marked)):
        place, value = found[0]
        equal = marked.rfind("=")
        if equal >= 0 and (later := [each for at, each in found if at > equal]):
            return later[0]
        rest = marked[place:].lstrip("0123456789.,")
        return found[-1][1] if _BEYOND.match(rest) else value
    sentences = [each for each in _SENTENCES.split(text) if len(each) <= _LINE]
    alone = [_kept(each) for each in sentences if _BARE.fullmatch(each)]
    if bare := [each[0][1] for each in alone if len(each) == 1]:
        return bare[-1]
    found = _kept(text)
    if not found:
        return None
    line = text.rfind("\n", 0, found[-1][0]) + 1
    equal = text.rfind("=", line)
    if equal >= 0 and (later := [each for at, each in found if at > equal]):
        return later[0]
    new = [each for _, each in found if each not in asked]
    return new[-1] if new else found[-1][1]


def _kept(text: str) -> list[tuple[int, float]]:
    """Read the numbers that are not denied."""
    lowered = text.lower()
    return [each for each in _numbers(text) if not _is_denied(lowered, each[0])]
