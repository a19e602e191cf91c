"""Compile WordNet into the lexicon that ships with the package.

Needs nltk (`pip install 'xpm-stream[lexicon]'`) and a WordNet 3.0 database: Debian's wordnet-base and
wordnet-sense-index put one into /usr/share/wordnet. The same input gives the same bytes.

What becomes a word (docs/words.md says why):
1. Object synsets are the hyponyms of object.n.01 without its locations (a tract of land is kept: "field", "park"), and
   the solid foods. Instances (cities, persons by name) are no nouns of a caption.
2. A lemma is a word when at least half of its use as a noun is in object synsets; use is the tag count of SemCor plus
   1/rank^2 for the order of senses, so that untagged words are judged by their first senses.
3. Words that are far more often adjectives are left out; words that are more often verbs or adjectives carry a flag for
   the context rules of `CaptionNouns`.
4. `data/own_words.txt` has the last word: names of COCO, LVIS and Open Images, image words, refusals, spellings.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xpm_stream.errors import TextError
from xpm_stream.text.lexicon import FORMAT, FORMAT_VERSION, MODIFIER_FLAG, VERB_FLAG, Entry
from xpm_stream.text.own_words import OwnWords, read_own_words
from xpm_stream.text.wordnet_files import irregular_plurals, opened_wordnet, tag_counts
from xpm_stream.text.words import key_of, singulars_of

OBJECT_ROOT = "object.n.01"
_LOCATIONS = "location.n.01"
_LAND = "tract.n.01"
_FOODS = ("food.n.02", "foodstuff.n.02", "nutriment.n.01")
_NOT_SOLID = ("meal.n.01", "beverage.n.01", "juice.n.01", "milk.n.04", "ingesta.n.01", "vitamin.n.01", "coloring.n.01")

# Senses that say nothing for or against an object: what fills it, its pelt, its wood ("mug", "otter", "cherry").
_NEUTRAL = ("containerful.n.01", "animal_skin.n.01", "wood.n.01")

_OBJECT_SHARE = 0.5
_REFUSE_ADJECTIVE_RATIO = 2.0
_FLAG_ADJECTIVE_RATIO = 0.5
_FLAG_VERB_RATIO = 2.0
# "pick-up", "stand-in": read without their hyphen these are verbs.
_PARTICLES = frozenset("in up out off by to on over down back away through between around about along".split())
# "A battery", "AND circuit": as text they are an article or a conjunction before a noun.
_DETERMINERS = frozenset("a an the and or no not".split())
# "old man" is a man and "white room" a room: WordNet's senses (a father, a clean room) are not what captions mean.
# Animals, plants and foods keep such names ("black bear").
_PLAIN_ADJECTIVES = frozenset(
    "old young big little small large tall fat poor rich best better professional white black red green blue yellow "
    "brown pink purple gray grey".split()
)
_NAMED_BY_ADJECTIVE = frozenset(("noun.animal", "noun.plant", "noun.food"))


def build_lexicon(wordnet_folder: Path, output: Path) -> int:
    """Compile the WordNet database in `wordnet_folder` into the lexicon file `output`.

    Returns:
        How many spellings the lexicon holds.

    Raises:
        TextError: if nltk or a WordNet file is missing.
    """
    own = read_own_words()
    with opened_wordnet(wordnet_folder) as wordnet:
        entries = _Compilation(wordnet, own, tag_counts(wordnet_folder)).entries()
        irregular = irregular_plurals(wordnet_folder)
    _add_spellings(entries, own, irregular)
    lines = sorted(_line(key, entry) for key, entry in entries.items())
    header = {"format": FORMAT, "version": FORMAT_VERSION, "source": "WordNet 3.0", "spellings": len(lines)}
    text = json.dumps(header) + "\n" + "\n".join(lines) + "\n"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))
    return len(lines)


class _Compilation:
    """One pass over WordNet's nouns."""

    def __init__(self, wordnet: Any, own: OwnWords, tag_counts: dict[str, int]) -> None:
        self._wordnet = wordnet
        self._own = own
        self._tag_counts = tag_counts
        land = _subtree(wordnet, _LAND)
        foods = set().union(*(_subtree(wordnet, name) for name in _FOODS))
        liquids = set().union(*(_subtree(wordnet, name) for name in _NOT_SOLID))
        self._objects = (_subtree(wordnet, OBJECT_ROOT) - (_subtree(wordnet, _LOCATIONS) - land)) | (foods - liquids)
        self._neutral = set().union(*(_subtree(wordnet, name) for name in _NEUTRAL)) - self._objects

    def entries(self) -> dict[str, Entry]:
        """Key -> entry of every word, spelling variants within one synset merged."""
        surfaces = self._accepted()
        merged = self._merge_variants(surfaces)
        entries = {key: Entry(merged.get(key, surface), self._flags(key)) for key, surface in surfaces.items()}
        for key, surface in self._own.accept.items():
            entries[key] = Entry(surface, self._own.flags[key])
        return entries

    def _accepted(self) -> dict[str, str]:
        lemmas = sorted({name for synset in self._objects for name in synset.lemma_names()})
        surfaces: dict[str, str] = {}
        for lemma in lemmas:
            surface = lemma.replace("_", " ").lower()
            key = key_of(surface)
            if key in self._own.accept or key in self._own.refuse or not _well_formed(key, surface):
                continue
            if self._is_object_word(lemma) and not self._is_described(key, lemma):
                # Two spellings of one key ("living room", "living-room"): the one without hyphen.
                surfaces[key] = min(surface, surfaces.get(key, surface), key=lambda text: ("-" in text, text))
        return surfaces

    def _is_object_word(self, lemma: str) -> bool:
        total = in_objects = 0.0
        common = [synset for synset in self._wordnet.synsets(lemma, "n") if not self._says_nothing(synset)]
        for rank, synset in enumerate(common, start=1):
            weight = self._count(synset, lemma) + 1.0 / rank**2
            total += weight
            in_objects += weight * (synset in self._objects)
        if not total or in_objects / total < _OBJECT_SHARE:
            return False
        adjectives = self._uses(lemma, "a") + self._uses(lemma, "r")
        proper_adjective = lemma[:1].isupper() and "_" not in lemma and bool(self._wordnet.synsets(lemma, "a"))
        kept = key_of(lemma) in self._own.flags
        return kept or not (adjectives > _REFUSE_ADJECTIVE_RATIO * in_objects or proper_adjective)

    def _says_nothing(self, synset: Any) -> bool:
        return bool(synset.instance_hypernyms()) or synset in self._neutral

    def _is_described(self, key: str, lemma: str) -> bool:
        if key.partition(" ")[0] not in _PLAIN_ADJECTIVES or " " not in key:
            return False
        return self._wordnet.synsets(lemma, "n")[0].lexname() not in _NAMED_BY_ADJECTIVE

    def _flags(self, key: str) -> str:
        if key in self._own.flags:
            return self._own.flags[key]
        if " " in key:
            return ""
        nouns, verbs = self._uses(key, "n") + 1, self._uses(key, "v")
        adjectives = self._uses(key, "a") + self._uses(key, "r")
        gerund = key.endswith("ing") and self._wordnet.morphy(key, "v") not in (None, key)
        flags = VERB_FLAG if gerund or verbs > _FLAG_VERB_RATIO * nouns else ""
        return flags + (MODIFIER_FLAG if adjectives > _FLAG_ADJECTIVE_RATIO * nouns else "")

    def _merge_variants(self, surfaces: dict[str, str]) -> dict[str, str]:
        """Key -> surface of the most used lemma that differs only in spaces and hyphens within one synset."""
        merged: dict[str, str] = {}
        for synset in sorted(self._objects, key=lambda synset: str(synset.name())):
            groups: dict[str, list[str]] = defaultdict(list)
            for lemma in synset.lemma_names():
                key = key_of(lemma.replace("_", " "))
                if key in surfaces or key in self._own.accept:
                    groups[key.replace(" ", "")].append(lemma)
            for variants in groups.values():
                best = max(variants, key=lambda lemma: (key_of(lemma) in self._own.accept, self._count(synset, lemma)))
                best_key = key_of(best.replace("_", " "))
                for variant in variants:
                    surface = self._own.accept.get(best_key) or surfaces[best_key]
                    merged.setdefault(key_of(variant.replace("_", " ")), surface)
        return merged

    def _count(self, synset: Any, lemma: str) -> int:
        wanted = lemma.lower()
        return sum(self._tag_counts.get(one.key(), 0) for one in synset.lemmas() if one.name().lower() == wanted)

    def _uses(self, lemma: str, part_of_speech: str) -> int:
        return sum(self._count(synset, lemma) for synset in self._wordnet.synsets(lemma, part_of_speech))


def _add_spellings(entries: dict[str, Entry], own: OwnWords, irregular: Iterable[tuple[str, str]]) -> None:
    _merge_regular_plurals(entries, own)
    for plural, singular in irregular:
        target = entries.get(singular)
        if target and plural not in entries and plural not in own.refuse and singular not in singulars_of(plural)[:1]:
            entries[plural] = target
    for key, surface in own.spellings.items():
        target = entries.get(key_of(surface))
        if target is None:
            raise TextError(f"own_words.txt: spelling {key!r} points at {surface!r}, which is no word of the lexicon")
        entries[key] = Entry(target.canonical, own.flags.get(key, target.flags))
    # "tshirt" is written for "t-shirt" as well.
    for key in [key for key, entry in entries.items() if "-" in entry.canonical and key_of(entry.canonical) == key]:
        entries.setdefault(key.replace(" ", ""), entries[key])


def _merge_regular_plurals(entries: dict[str, Entry], own: OwnWords) -> None:
    """WordNet lists some plurals as lemmas ("cows", "eggs"); in captions they are more than one of the singular."""
    for key in sorted(entries.keys() - own.accept.keys()):
        head, space, last = key.rpartition(" ")
        for singular in singulars_of(last):
            target = entries.get(head + space + singular)
            if target is not None:
                entries[key] = Entry(target.canonical, target.flags.replace(MODIFIER_FLAG, ""))
                break


def _well_formed(key: str, surface: str) -> bool:
    tokens = key.split(" ")
    if (
        len(key) < 3
        or tokens[0] in _DETERMINERS
        or not any(character.isalpha() for character in key)
        or key[0].isdigit()
    ):
        return False
    return not ("-" in surface and tokens[-1] in _PARTICLES)


def _line(key: str, entry: Entry) -> str:
    canonical = "" if entry.canonical == key else entry.canonical
    return f"{key}\t{canonical}\t{entry.flags}".rstrip("\t")


def _subtree(wordnet: Any, name: str) -> set[Any]:
    root = wordnet.synset(name)
    return {root, *root.closure(lambda synset: synset.hyponyms())}
