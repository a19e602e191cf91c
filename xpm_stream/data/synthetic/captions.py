"""What people might write under a picture: counts, plurals, adjectives, places, synonyms, omissions and mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from xpm_stream.data.synthetic.catalog import CLASSES, plural_of
from xpm_stream.data.synthetic.corpus_config import SyntheticConfig

# `{all}` is the whole enumeration; `{one}` its first phrase and `{rest}` the others, for two or more phrases.
_TEMPLATES: Final = (
    "{all}{place}",
    "{all}{place}",
    "there is {all}{place}",
    "here we have {all}{place}",
    "you can see {all}{place}",
    "just {all}{place}",
    "someone left {all} here{place}",
    "look at {all}{place}",
    "a close look at {all}{place}",
)
_PAIR_TEMPLATES: Final = (
    "{one} next to {rest}{place}",
    "{one} beside {rest}{place}",
    "{one} in front of {rest}{place}",
    "{one} together with {rest}{place}",
    "{one} near {rest}{place}",
    "{one}, and also {rest}{place}",
)
_CIRCUMSTANCES: Final = (
    "in the morning",
    "at night",
    "outdoors",
    "in bright light",
    "side by side",
    "seen from above",
    "on a rainy day",
    "in summer",
    "just now",
    "for no reason",
    "in our home town",
    "waiting quietly",
)
# Nouns of places and pictures; captions of real pictures are full of them, and no teacher can find them.
PLACES: Final = {
    "in a kitchen": "kitchen",
    "on the street": "street",
    "on a wall": "wall",
    "in the garden": "garden",
    "on the floor": "floor",
    "by the window": "window",
}
_PLACE_SHARE: Final = 0.25  # of the phrases that say where or how
ADJECTIVES: Final = (
    *("small", "large", "old", "new", "shiny", "pretty", "colorful", "strange", "nice", "lovely"),
    *("clean", "tiny", "big", "neat", "charming", "plain", "cheap", "cute", "wonderful", "dusty"),
)
_NOUNLESS: Final = (
    "what a lovely day",
    "so much to see here",
    "untitled",
    "looks great today",
    "wish you were here",
    "taken yesterday",
    "no words needed",
)
_SEVERAL: Final[dict[int, tuple[str, ...]]] = {
    2: ("two", "a couple of", "a pair of", "two"),
    3: ("three", "a few", "several", "three"),
    4: ("four", "a few", "several", "some"),
    5: ("five", "several", "many", "some"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One noun of one caption."""

    word: str  # the class
    said: str  # the noun as it stands there: plural or synonym perhaps
    count: int
    right: bool  # whether the picture shows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """One caption and what it claims."""

    text: str
    mentions: tuple[Mention, ...]


def write_captions(
    words: Sequence[str], *, config: SyntheticConfig, vocabulary: Sequence[str], rng: np.random.Generator
) -> list[Caption]:
    """Captions for a picture showing these objects (a word for each), with the mistakes the configuration asks for.

    Mistakes are the image's, not the caption's: its captions agree on them, as copies of one wrong source would, so
    the share of wrong words among an image's words is `wrong_noun_rate` whatever the number of captions.
    """
    number = int(rng.integers(config.captions[0], config.captions[1] + 1))
    if not words or rng.random() < config.nounless_rate:
        chosen = rng.choice(len(_NOUNLESS), size=number, replace=False)
        return [Caption(text=_finish(_NOUNLESS[int(index)], rng), mentions=()) for index in chosen]
    claims = _claims(Counter(words), config=config, vocabulary=vocabulary, rng=rng)
    return [_write(claims, config=config, rng=rng) for _ in range(number)]


def _claims(
    present: Mapping[str, int], *, config: SyntheticConfig, vocabulary: Sequence[str], rng: np.random.Generator
) -> list[tuple[str, int, bool]]:
    """(word, count, right) for all that the captions of this picture may mention."""
    absent = [word for word in vocabulary if word not in present]
    # A quarter of the mistakes adds a noun instead of replacing one, so fewer slots must go wrong for the same share.
    slip_rate = config.wrong_noun_rate / (1.0 - 0.25 * config.wrong_noun_rate)
    claims: list[tuple[str, int, bool]] = []
    for word, count in present.items():
        if not absent or rng.random() >= slip_rate:
            claims.append((word, count, True))
            continue
        wrong = absent.pop(int(rng.integers(len(absent))))
        if rng.random() < 0.25:
            claims.append((word, count, True))
        claims.append((wrong, count, False))
    return claims


def _write(claims: Sequence[tuple[str, int, bool]], *, config: SyntheticConfig, rng: np.random.Generator) -> Caption:
    kept = [claim for claim in claims if rng.random() >= config.omission_rate]
    if not kept:
        kept = [claims[int(rng.integers(len(claims)))]]
    kept = [kept[int(index)] for index in rng.permutation(len(kept))]
    phrases, mentions = [], []
    for word, count, right in kept:
        phrase, said = _noun_phrase(word, count, config=config, rng=rng)
        phrases.append(phrase)
        mentions.append(Mention(word=word, said=said, count=count, right=right))
    place = f" {_place(rng)}" if rng.random() < config.place_rate else ""
    if len(phrases) > 1 and rng.random() < 0.4:
        template = _PAIR_TEMPLATES[int(rng.integers(len(_PAIR_TEMPLATES)))]
        text = template.format(one=phrases[0], rest=_enumerate(phrases[1:]), place=place)
    else:
        template = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
        text = template.format(all=_enumerate(phrases), place=place)
    return Caption(text=_finish(text, rng), mentions=tuple(mentions))


def _noun_phrase(word: str, count: int, *, config: SyntheticConfig, rng: np.random.Generator) -> tuple[str, str]:
    """The phrase and the noun in it."""
    synonyms = CLASSES[word].synonyms
    spoken = word
    if synonyms and rng.random() < config.synonym_rate:
        spoken = synonyms[int(rng.integers(len(synonyms)))]
    adjective = f"{ADJECTIVES[int(rng.integers(len(ADJECTIVES)))]} " if rng.random() < config.adjective_rate else ""
    if count == 1:
        phrase = f"{adjective}{spoken}"
        opening = rng.random()
        article = ("an" if phrase[0] in "aeiou" else "a") if opening < 0.8 else "the" if opening < 0.93 else "one"
        return f"{article} {phrase}", spoken
    plural = plural_of(spoken)
    quantities = _SEVERAL[min(count, 5)]
    return f"{quantities[int(rng.integers(len(quantities)))]} {adjective}{plural}", plural


def _place(rng: np.random.Generator) -> str:
    phrases = tuple(PLACES) if rng.random() < _PLACE_SHARE else _CIRCUMSTANCES
    return phrases[int(rng.integers(len(phrases)))]


def _enumerate(phrases: Sequence[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _finish(text: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.85:
        text = text[0].upper() + text[1:]
    return text + (".", ".", "", "!")[int(rng.integers(4))]
