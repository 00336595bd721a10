"""The text: documents that a program writes, each about a cast of its own.

A document invents a cast: ten people with a name, a trade, a town and a thing in a colour, all of
which stay as they are for that document only. Its sentences go on about the same few people for a
while and come back to others later. To predict it a model must learn

    1 to 10 characters     spelling and the forms of sentences
    to about 100           that speech and asides close in the order in which they opened, with he or
                           she as for the person last named
    100 to 400             that a paragraph ends by repeating its first sentence
    10 to whole documents  what was said of a person: name, trade, town and thing, at whatever
                           distance, by memory alone, since no two documents share a cast

What is left is chance: who comes next, which form a sentence takes.
"""

from __future__ import annotations

import random
import string
from typing import Dict, List, NamedTuple, Tuple

import numpy as np

ALPHABET = "\n " + string.ascii_letters + ".,:()[]'"
_CODES = {character: code for code, character in enumerate(ALPHABET)}

_TRADES = (
    "baker carter cooper dyer farmer fisher fuller glazier mason miller potter roper sailor "
    "shepherd smith tailor tanner thatcher weaver wright"
)
_COLOURS = "amber black blue brown green grey ivory red silver white"
_THINGS = (
    "basin bell boat book bowl chair chest cloak clock drum flute kettle knife ladder lamp loom "
    "mirror plough rope saddle"
)
_ONSETS = "b d f g h k l m n p r s t v z br dr gr kl st tr sh th".split()
_VOWELS = "a e i o u ai ea ou".split()
_ENDS = "n r l m s th nd rk".split() + [""] * 4


class Text(NamedTuple):
    """Characters as codes into `ALPHABET`, and what they may be foretold from."""

    codes: np.ndarray
    """[characters] uint8."""
    distances: np.ndarray
    """[characters] int32: for the characters of a fact (a trade, a town, a coloured thing) that was told
    of the person before in the document, how many characters ago it was last told; 0 elsewhere, and
    in the sentence that a paragraph repeats."""


class _Person(NamedTuple):
    name: str
    pronoun: str
    trade: str
    town: str
    thing: str


class _Document:
    """One document as it is being written."""

    def __init__(self, generator: random.Random, length: int) -> None:
        self.random, self.length = generator, length
        self.pieces: List[str] = []
        self.distances: List[Tuple[int, int, int]] = []  # start, end, how far back
        self.written = 0
        # Facts of persons: where each was told last, and all tellings in order.
        self.told: Dict[Tuple[_Person, str], int] = {}
        self.tellings: List[Tuple[Tuple[_Person, str], int]] = []
        towns = self._names(3)
        names = self._names(10)
        trades = generator.sample(_TRADES.split(), 10)
        things = generator.sample(_THINGS.split(), 10)
        self.cast = [
            _Person(
                name,
                generator.choice(("he", "she")),
                trade,
                generator.choice(towns),
                f"{generator.choice(_COLOURS.split())} {thing}",
            )
            for name, trade, thing in zip(names, trades, things)
        ]
        self.recent = generator.sample(self.cast, 3)

    def _names(self, count: int) -> List[str]:
        names: Dict[str, None] = {}
        while len(names) < count:
            syllables = [
                self.random.choice(_ONSETS) + self.random.choice(_VOWELS)
                for _ in range(self.random.choice((2, 2, 3)))
            ]
            names["".join([*syllables, self.random.choice(_ENDS)]).capitalize()] = None
        return list(names)

    def _say(self, text: str) -> None:
        self.pieces.append(text)
        self.written += len(text)

    def _fact(self, person: _Person, fact: str) -> None:
        start, about = self.written, (person, fact)
        self._say(fact)
        if about in self.told:
            self.distances.append((start, self.written, start - self.told[about]))
        self._remember(about, start)

    def _remember(self, about: Tuple[_Person, str], start: int) -> None:
        self.told[about] = start
        self.tellings.append((about, start))

    def _someone(self) -> _Person:
        """Not the last person named: one of the two before, or by chance one of the whole cast."""
        known = self.recent if self.random.random() < 0.7 else self.cast
        person = self.random.choice([other for other in known if other != self.recent[0]])
        self.recent = [person, *(other for other in self.recent if other != person)][:3]
        return person

    def _clause(self, depth: int) -> None:
        """A statement on someone, without its full stop; may hold an aside or speech."""
        form = self.random.randrange(7 if depth < 2 else 5)
        person = self._someone()
        self._say(person.name)
        if form == 0:
            self._say(" the ")
            self._fact(person, person.trade)
            self._say(" lives in ")
            self._fact(person, person.town)
        elif form == 1:
            self._say(" of ")
            self._fact(person, person.town)
            self._say(" has a ")
            self._fact(person, person.thing)
        elif form == 2:
            self._say(" met ")
            other = self._someone()
            self._say(other.name)
            self._say(" the ")
            self._fact(other, other.trade)
        elif form == 3:
            self._say(" took the ")
            self._fact(person, person.thing)
            self._say(" to ")
            self._fact(person, person.town)
        elif form == 4:
            self._say(" asked ")
            other = self._someone()
            self._say(other.name)
            self._say(" for the ")
            self._fact(other, other.thing)
        elif form == 5:
            mark = self.random.choice(("()", "[]"))
            self._say(f" {mark[0]}{person.pronoun} said: ")
            self._clause(depth + 1)
            self._say(mark[1])
            self._say(f" is where {person.pronoun} was")
        else:
            self._say(" said: '")
            self._clause(depth + 1)
            self._say(f"', and {person.pronoun} went to ")
            self._fact(person, person.town)

    def write(self) -> Text:
        while self.written < self.length:
            start, piece, told = self.written, len(self.pieces), len(self.tellings)
            self._clause(0)
            tellings = self.tellings[told:]
            first = "".join(self.pieces[piece:])
            for _ in range(self.random.randint(1, 5)):
                self._say(". ")
                self._clause(0)
            self._say(". So it was that ")
            repeated = self.written
            self._say(first)
            for about, position in tellings:
                self._remember(about, position - start + repeated)
            self._say(".\n")
        self._say("\n")
        codes = np.fromiter((_CODES[c] for c in "".join(self.pieces)), np.uint8, self.written)
        distances = np.zeros(self.written, np.int32)
        for start, end, distance in self.distances:
            distances[start:end] = distance
        return Text(codes, distances)


def documents(count: int, shortest: int, longest: int, seed: int) -> List[Text]:
    """`count` documents of at least `shortest` characters each; the same for the same arguments."""
    generator = random.Random(seed)
    return [_Document(generator, generator.randint(shortest, longest)).write() for _ in range(count)]


def read(codes: np.ndarray) -> str:
    """The characters of the codes."""
    return "".join(ALPHABET[code] for code in codes)
