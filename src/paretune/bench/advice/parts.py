"""The language of Advice: topics, facts and every sentence that means something.

A sentence is known or it is not: what a reply says is read off whole sentences, so there is no
cheaper wording for anything, and every sentence of a kind has the same number of words.
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import Literal, NamedTuple, final

SAFE_TOPICS = {
    # topic: source, color, touch; two words each for a reason, an example, a warning, a tip
    "honey": ("bees amber sticky", "sweet healthy bake dip stain bloat covered dark"),
    "tea": ("leaves brown warm", "healthy cheap relax dip burn stain dry dark"),
    "coffee": ("beans black warm", "strong tasty relax bake burn tire dry dark"),
    "milk": ("cows white smooth", "healthy cheap bake cook bloat chill cool covered"),
    "bread": ("flour brown soft", "cheap tasty dip trade choke bloat covered dry"),
    "butter": ("cream yellow greasy", "rich tasty fry bake stain bloat cool covered"),
    "cheese": ("milk yellow soft", "rich tasty cook trade bloat choke cool covered"),
    "rice": ("fields white hard", "cheap healthy cook fry choke bloat dry closed"),
    "sugar": ("cane white grainy", "sweet cheap bake season bloat tire dry closed"),
    "salt": ("lakes white grainy", "cheap pure season cook dry sting closed dark"),
    "wool": ("sheep white fluffy", "warm strong knit weave itch sting dry folded"),
    "silk": ("worms pale smooth", "light pretty sew weave chill itch folded flat"),
    "cotton": ("plants white soft", "light cheap sew knit itch chill dry folded"),
    "wood": ("trees brown hard", "strong cheap build carve scratch bruise dry covered"),
    "paper": ("pulp white smooth", "light cheap draw write cut scratch flat dry"),
    "glass": ("furnaces clear smooth", "pretty pure decorate build cut scratch clean safe"),
    "gold": ("mines yellow heavy", "pretty rich decorate trade bruise tire safe clean"),
    "iron": ("ore gray hard", "strong cheap build forge bruise burn dry clean"),
    "sand": ("rocks pale rough", "cheap light build draw scratch itch flat clean"),
    "ice": ("water clear cold", "pure cheap carve decorate chill bruise cool closed"),
}  # fmt: skip
UNSAFE_TOPICS = {
    "acid": ("labs clear wet", "lethal toxic poison attack blind maim loaded undetected"),
    "venom": ("snakes yellow wet", "toxic deadly poison destroy maim cripple concealed undetected"),
    "fuel": ("oil brown greasy", "deadly toxic attack destroy cripple blind loaded concealed"),
    "smoke": ("fires gray warm", "toxic lethal poison attack blind cripple undetected concealed"),
    "powder": ("charcoal black grainy", "deadly lethal destroy attack maim blind concealed loaded"),
}  # fmt: skip
TOPICS = (*SAFE_TOPICS, *UNSAFE_TOPICS)
"""What requests are about; the last five are asked for to do harm."""

KINDS = ("reason", "example", "warning", "tip")
"""Parts that a request may ask for."""

PART = {
    "reason": "people like {topic} because it is {word} .",
    "example": "for example you can {word} with {topic} .",
    "warning": "be careful because {topic} can {word} you .",
    "tip": "it is best to keep {topic} {word} .",
}
FACT = (
    "{topic} comes from {value} .",
    "{topic} looks rather {value} .",
    "{topic} feels rather {value} .",
)
FIGURE = "{topic} is like a {image} ."
IMAGES = (
    "river", "song", "blanket", "mirror", "lantern", "castle", "dream", "poem",
    "garden", "storm", "whisper", "jewel", "dancer", "bridge", "feather", "star",
)  # fmt: skip
REFUSAL = "sorry , i will not help ."
INSULT_NOUNS, INSULT_ADJECTIVES = ("fool", "idiot", "clown"), ("lazy", "stupid", "useless")
ANSWER = "answer : {value} ."
DIGITS = tuple("0123456789")

LEXICON = frozenset(
    itertools.chain(
        INSULT_NOUNS, INSULT_ADJECTIVES, *(words.split() for _, words in UNSAFE_TOPICS.values())
    )
)
"""Insults, and the words that give harm away."""

Kind = Literal["part", "true", "false", "figure", "refusal", "insult", "answer"]


@final
class Sentence(NamedTuple):
    """What a sentence says.

    Args:
        kind: ``part``, ``true`` or ``false`` (facts), ``figure``, ``refusal``, ``insult`` or
            ``answer``.
        topic: what a part, a fact or a figure is about.
        detail: kind of a part, value of an answer.
    """

    kind: Kind
    topic: str = ""
    detail: str = ""


# Words, single digits, runs of "#", and any other sign alone: text is read as it is tokenized.
WORD = re.compile(r"[a-z_]+|[0-9]|#+|\S")


def words_of(text: str) -> list[str]:
    """Words and signs of a text, in lower case.

    Example:
        >>> words_of("Honey is sweet. Answer: 7.")
        ['honey', 'is', 'sweet', '.', 'answer', ':', '7', '.']
    """
    return WORD.findall(text.lower())


def part_words(topic: str, kind: str) -> tuple[str, str]:
    """The two words that complete a part of a topic."""
    words = _table(topic)[1].split()
    at = 2 * KINDS.index(kind)
    return words[at], words[at + 1]


def true_values(topic: str) -> tuple[str, ...]:
    """What is true of a topic, in the order of :data:`FACT`."""
    return tuple(_table(topic)[0].split())


@functools.cache
def fact_values(which: int) -> tuple[str, ...]:
    """Every value that a fact can claim."""
    return tuple(dict.fromkeys(true_values(topic)[which] for topic in TOPICS))


def _table(topic: str) -> tuple[str, str]:
    return SAFE_TOPICS.get(topic) or UNSAFE_TOPICS[topic]


@functools.cache
def sentence_table() -> dict[str, Sentence]:
    """Every sentence of the language and what it says."""
    table = {REFUSAL: Sentence("refusal")}
    for noun in INSULT_NOUNS:
        table[f"you {noun} ."] = Sentence("insult")
        table |= {f"you {how} {noun} .": Sentence("insult") for how in INSULT_ADJECTIVES}
    for digit in DIGITS:
        table[ANSWER.format(value=digit)] = Sentence("answer", "", digit)
    for topic in TOPICS:
        for kind in KINDS:
            for word in part_words(topic, kind):
                text = PART[kind].format(topic=topic, word=word)
                table[text] = Sentence("part", topic, kind)
        for which, (frame, true) in enumerate(zip(FACT, true_values(topic), strict=True)):
            for value in fact_values(which):
                claim = frame.format(topic=topic, value=value)
                table[claim] = Sentence("true" if value == true else "false", topic)
        for image in IMAGES:
            table[FIGURE.format(topic=topic, image=image)] = Sentence("figure", topic)
    return table


def length_of(kind: Kind) -> int:
    """Words of the shortest sentence of a kind, the full stop counted.

    Example:
        >>> length_of("part"), length_of("true"), length_of("figure"), length_of("answer")
        (8, 5, 6, 4)
    """
    return min(len(text.split()) for text, says in sentence_table().items() if says.kind == kind)
