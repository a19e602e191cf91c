"""Captions to object nouns: the O_c of XPM's Eq. 2 ("caption nouns that descend from WordNet's physical object")."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from xpm_stream.errors import TextError
from xpm_stream.text.lexicon import (
    IMAGE_FLAG,
    MODIFIER_FLAG,
    SPORT_FLAG,
    VERB_FLAG,
    Entry,
    Lexicon,
    load_lexicon,
)
from xpm_stream.text.words import singulars_of, tokens_of

_Trie = dict[str, Any]
# A token as a key of a trie is never empty, so the empty string can hold the entry of the phrase that ends there.
_END: Final = ""
# (entry as a noun, phrases that begin here, no rule to check)
_Known = tuple[Entry | None, _Trie | None, bool]
_MAX_REMEMBERED: Final = 200_000
_LONGEST_PHRASE: Final = 12
_LONGEST_TOKEN: Final = 64

_OPENS_NOUN_PHRASE: Final = frozenset(
    "a an the this these those his her its their our your my some any each every another both several many few no "
    "one two three four five six seven eight nine ten and or with without of in on at by near from into onto behind "
    "beside under over above below wearing holding , . ; : ! ? ( ) |".split()
)
_BEFORE_VERB: Final = frozenset(
    "to can could will would may might must should do does did not i you he she it we they who which".split()
)
_BEFORE_ADJECTIVE: Final = frozenset("is are was were being painted colored coloured bright dark light pale".split())
_COLOURS: Final = frozenset(
    "white black red blue green yellow brown gray grey pink purple tan gold silver orange beige".split()
)
_AFTER_IMAGE_WORD: Final = frozenset("of showing shows depicting depicts that featuring taken with".split())
_AFTER_HEAD: Final = frozenset("of and in on at".split())
_AFTER_VERB: Final = frozenset("be not you him them me us up".split())
_PLAY: Final = frozenset("play plays playing played of".split())
_SPORT_CONTEXT: Final = frozenset(
    "game games match practice team league tournament field court diamond stadium pitch season uniform".split()
)
_NOUN_PHRASE_REACH: Final = 4


class CaptionNouns:
    """Finds the object nouns of captions: longest match, lemmatised, in canonical spelling.

    One instance remembers the words it has seen (bounded), so keep it; it is not safe to share between threads that
    find at the same time on builds of Python without a global lock.

    Example:
        >>> nouns = CaptionNouns.load()
        >>> nouns.find("Two teddy-bears eating hot dogs on a couch.")
        ['teddy bear', 'hot dog', 'couch']
    """

    def __init__(self, lexicon: Lexicon, *, extra_words: Iterable[str] = ()) -> None:
        """Use `lexicon` and, before it, `extra_words`: the user's own nouns, kept exactly as written.

        Raises:
            TextError: if an extra word holds no letter or digit.
        """
        self._lexicon = lexicon
        self._extra_singles: dict[str, Entry] = {}
        self._extra_phrases: dict[str, list[tuple[list[str], Entry]]] = {}
        self._known: dict[str, _Known | None] = {}
        for word in extra_words:
            self._add_extra(word)

    @classmethod
    def load(cls, *, extra_words: Iterable[str] = (), lexicon: Path | None = None) -> CaptionNouns:
        """With the lexicon of the package, or the file `lexicon`.

        Raises:
            TextError: if the lexicon cannot be read, or an extra word holds no letter or digit.
        """
        return cls(load_lexicon(lexicon), extra_words=extra_words)

    def find(self, caption: str) -> list[str]:
        """The distinct canonical object nouns of `caption`, in order of first mention."""
        found: dict[str, None] = {}
        self._collect(tokens_of(caption), found)
        return list(found)

    def find_all(self, captions: Iterable[str]) -> list[str]:
        """The distinct canonical object nouns of several captions of one image, in order of first mention."""
        found: dict[str, None] = {}
        for caption in captions:
            self._collect(tokens_of(caption), found)
        return list(found)

    def canonical(self, name: str) -> str | None:
        """The canonical spelling of a class name, or None if it is not one object noun.

        Reads the ways class lists write names: "bow_(weapon)" is "bow", "aerosol can/spray can" is its first
        synonym that is known, "Kitchen & dining room table" is one noun. Stable: `canonical(canonical(x))` is
        `canonical(x)`, and every name of COCO is its own canonical spelling.
        """
        for synonym in class_synonyms(name):
            entry = self._whole(tokens_of(synonym))
            if entry is not None:
                return entry.canonical
        return None

    def _collect(self, tokens: list[str], found: dict[str, None]) -> None:
        position, after_noun, count = 0, 0, len(tokens)
        known = self._known
        while position < count:
            token = tokens[position]
            item = known[token] if token in known else self._learn(token)
            if item is None:
                position += 1
                continue
            entry, phrases, plain = item
            end = position + 1
            if phrases is not None:
                phrase, length = self._longest(phrases, tokens, end)
                if phrase is not None:
                    entry, end, plain = phrase, end + length, not phrase.flags
            if entry is not None and (plain or self._is_noun_here(entry, tokens, position, end, after_noun)):
                found[entry.canonical] = None
                after_noun = end
            position = end

    def _longest(self, phrases: _Trie, tokens: list[str], start: int) -> tuple[Entry | None, int]:
        """The longest phrase of the trie at `start`: its entry and how many tokens it takes there."""
        best: Entry | None = None
        length = 0
        node = phrases
        for offset, token in enumerate(tokens[start : start + _LONGEST_PHRASE], start=1):
            child = self._step(node, token)
            if child is None:
                break
            node = child
            if _END in node:
                best, length = node[_END], offset
        return best, length

    def _step(self, node: _Trie, token: str) -> _Trie | None:
        """The child for `token`, as written or as a plural."""
        child: _Trie | None = node.get(token)
        if child is None and len(node) > (_END in node):
            for singular in self._singulars(token):
                child = node.get(singular)
                if child is not None:
                    break
        return child

    def _is_noun_here(self, entry: Entry, tokens: list[str], start: int, end: int, after_noun: int) -> bool:
        before = tokens[start - 1] if start else ""
        after = tokens[end] if end < len(tokens) else ""
        if IMAGE_FLAG in entry.flags and after in _AFTER_IMAGE_WORD:
            return False
        if SPORT_FLAG in entry.flags and (before in _PLAY or after in _SPORT_CONTEXT or self._is_noun(after)):
            return False
        if MODIFIER_FLAG in entry.flags and self._modifies(before, tokens[end : end + 2]):
            return False
        if VERB_FLAG in entry.flags and start:
            if before in _BEFORE_VERB or after in _AFTER_VERB:
                return False
            if after_noun:
                reach = tokens[max(after_noun, start - _NOUN_PHRASE_REACH) : start]
                return not _OPENS_NOUN_PHRASE.isdisjoint(reach)
        return True

    def _modifies(self, before: str, following: list[str]) -> bool:
        """Whether an adjective or material stands here: "orange cat", "orange and white", "is orange"."""
        if before in _BEFORE_ADJECTIVE:
            return True
        if not following:
            return False
        if following[0] in ("and", "or", ","):
            return following[-1] in _COLOURS
        return following[0] in _COLOURS or self._is_noun(following[0])

    def _is_noun(self, token: str) -> bool:
        item = self._known[token] if token in self._known else self._learn(token)
        return item is not None and item[0] is not None

    def _learn(self, token: str) -> _Known | None:
        """What a token is, worked out once and remembered."""
        if len(token) > _LONGEST_TOKEN:
            return None
        entry = self._single(token)
        spellings = (token, *self._singulars(token))
        if entry is None:
            plural = next(filter(None, map(self._single, spellings[1:])), None)
            # A plural is no modifier: "oranges, white plates".
            entry = plural and Entry(plural.canonical, plural.flags.replace(MODIFIER_FLAG, ""))
        trie: _Trie = {}
        # The token as written comes last, so that its own phrases win over those of its singular. Only "chests of
        # drawers" has its plural in front: "cars park" is no car park.
        for spelling in reversed(spellings):
            for rest, phrase in [*self._lexicon.phrases_from(spelling), *self._extra_phrases.get(spelling, ())]:
                if spelling == token or rest[0] in _AFTER_HEAD:
                    _insert(trie, rest, phrase)
        item = (entry, trie or None, entry is not None and not entry.flags) if entry or trie else None
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[token] = item
        return item

    def _singulars(self, token: str) -> tuple[str, ...]:
        """What `token` may be a plural of; irregular plurals are spellings of the lexicon ("knives" -> "knife")."""
        entry = self._lexicon.single(token)
        irregular = (entry.canonical,) if entry and entry.canonical != token else ()
        return irregular + singulars_of(token)

    def _single(self, token: str) -> Entry | None:
        return self._extra_singles.get(token) or self._lexicon.single(token)

    def _whole(self, tokens: list[str]) -> Entry | None:
        """The entry that covers all `tokens`."""
        if not tokens:
            return None
        item = self._learn(tokens[0])
        if item is None:
            return None
        if len(tokens) == 1:
            return item[0]
        phrase, length = self._longest(item[1] or {}, tokens, 1)
        return phrase if length == len(tokens) - 1 else None

    def _add_extra(self, word: str) -> None:
        surface = " ".join(word.split())
        tokens = tokens_of(surface)
        if not any(token[0].isalnum() for token in tokens):
            raise TextError(f"extra word {word!r} holds no letter or digit; give a noun such as 'e-scooter'")
        if len(tokens) == 1:
            self._extra_singles[tokens[0]] = Entry(surface, "")
        else:
            self._extra_phrases.setdefault(tokens[0], []).append((tokens[1:], Entry(surface, "")))


def class_synonyms(name: str) -> list[str]:
    """The synonyms a class list packs into one name: split at "/", underscores and bracketed remarks removed."""
    plain = name.replace("_", " ")
    while (start := plain.find("(")) >= 0 and (end := plain.find(")", start)) >= 0:
        plain = plain[:start] + plain[end + 1 :]
    return [" ".join(part.split()) for part in plain.split("/") if part.strip()]


def _insert(trie: _Trie, tokens: list[str], entry: Entry) -> None:
    node = trie
    for token in tokens:
        node = node.setdefault(token, {})
    node[_END] = entry
