"""Letters of words: reversed, counted, found, left out."""

from __future__ import annotations

from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.question import Question, numeric
from dmoa.study.evals.tasks.words import (
    LONG,
    LONGEST,
    MIDDLE,
    PHRASES,
    REPEATING,
    SHORT,
    TITLES,
)

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def make(number: int, dice: Dice) -> Question:
    """Make question `number` (from 0): the levels take turns."""
    return _LEVELS[number % len(_LEVELS)](dice)


def _reverse(word: str) -> Question:
    return Question(
        f'Write the word "{word}" backwards. Answer with the reversed word only.',
        (word[::-1],),
        "exact",
    )


def _reverse_short(dice: Dice) -> Question:
    return _reverse(dice.pick(SHORT))


def _reverse_middle(dice: Dice) -> Question:
    return _reverse(dice.pick(MIDDLE))


def _reverse_long(dice: Dice) -> Question:
    return _reverse(dice.pick(LONG))


def _reverse_longest(dice: Dice) -> Question:
    return _reverse(dice.pick(LONGEST))


def _letter(place: int, word: str) -> Question:
    return Question(
        f'What is the {_ORDINALS[place]} letter of the word "{word}"? Answer with the letter only.',
        (word[place],),
        "exact",
    )


def _first_letter(dice: Dice) -> Question:
    return _letter(dice.between(0, 1), dice.pick((*MIDDLE, *LONG)))


def _nth_letter(dice: Dice) -> Question:
    return _letter(dice.between(3, 7), dice.pick(LONGEST))


def _last_letter(dice: Dice) -> Question:
    word = dice.pick((*LONG, *LONGEST))
    return Question(
        f'What is the last letter of the word "{word}"? Answer with the letter only.',
        (word[-1],),
        "exact",
    )


def _count(dice: Dice) -> Question:
    word = dice.pick(REPEATING)
    count = dice.pick(sorted({word.count(each) for each in word}))  # every count as often
    letter = dice.pick(sorted({each for each in word if word.count(each) == count}))
    return numeric(f'How many times does the letter "{letter}" occur in "{word}"?', count)


def _count_in_phrase(dice: Dice) -> Question:
    phrase = dice.pick(PHRASES)
    often = sorted({each for each in phrase if phrase.count(each) > 2 and each != " "})  # noqa: PLR2004
    letter = dice.pick(often)
    return numeric(
        f'How many times does the letter "{letter}" occur in "{phrase}"?', phrase.count(letter)
    )


def _words(dice: Dice) -> Question:
    words = f"{dice.pick(PHRASES)} and {dice.pick(PHRASES)}".split()
    phrase = " ".join(words[: dice.between(4, len(words))])
    return numeric(f'How many words are there in "{phrase}"?', len(phrase.split()))


def _first_letters(dice: Dice) -> Question:
    title = dice.pick(TITLES)
    letters = "".join(each[0] for each in title.split()).upper()
    return Question(
        f'Join the first letters of the words in "{title}". Answer with the joined letters only.',
        (letters,),
        "exact",
    )


def _without_vowels(dice: Dice) -> Question:
    word = dice.pick((*LONG, *LONGEST))
    return Question(
        f'Write the word "{word}" without the vowels a, e, i, o and u. '
        "Answer with the remaining letters only.",
        ("".join(each for each in word if each not in "aeiou"),),
        "exact",
    )


_LEVELS = (
    _first_letter,
    _reverse_longest,
    _reverse_short,
    _count,
    _first_letters,
    _nth_letter,
    _words,
    _last_letter,
    _count_in_phrase,
    _reverse_middle,
    _without_vowels,
    _reverse_long,
)
