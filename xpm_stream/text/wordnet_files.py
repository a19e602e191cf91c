"""Open a WordNet 3.0 database as Debian lays it out, with nltk."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpm_stream.errors import TextError
from xpm_stream.text.words import key_of

_WORDNET_FILES = (
    "adj.exc adv.exc cntlist.rev data.adj data.adv data.noun data.verb index.adj index.adv index.noun index.sense "
    "index.verb noun.exc verb.exc"
).split()

# Names by number, from lexnames(5WN).
_LEXICOGRAPHER_FILES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition "
    "noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person "
    "noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state "
    "noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition "
    "verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social "
    "verb.stative verb.weather adj.ppl"
).split()
_SYNTACTIC_CATEGORY = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}


@contextmanager
def opened_wordnet(folder: Path) -> Iterator[Any]:
    """nltk's reader on a WordNet database as Debian lays it out.

    nltk wants a `lexnames` file, which Debian leaves out, and reads only below folders it was told to trust: so the
    files are copied to a private folder first.
    """
    try:
        import nltk.data
        from nltk.corpus.reader.wordnet import WordNetCorpusReader
    except ImportError as error:
        raise TextError("building the lexicon needs nltk: pip install 'xpm-stream[lexicon]'") from error
    missing = [name for name in _WORDNET_FILES if not (folder / name).is_file()]
    if missing:
        raise TextError(
            f"{folder} is no complete WordNet database: {', '.join(missing)} missing; "
            "on Debian: apt install wordnet-base wordnet-sense-index"
        )
    # nltk would otherwise look for another WordNet to map sense numbers to, which nothing here needs.
    reader_class = type("LocalWordNet", (WordNetCorpusReader,), {"map_wn": lambda self, version="wordnet": None})
    with tempfile.TemporaryDirectory(prefix="xpm-wordnet-") as private:
        for name in _WORDNET_FILES:
            shutil.copyfile(folder / name, Path(private) / name)
        names = (f"{i:02d}\t{n}\t{_SYNTACTIC_CATEGORY[n.split('.')[0]]}\n" for i, n in enumerate(_LEXICOGRAPHER_FILES))
        (Path(private) / "lexnames").write_text("".join(names), encoding="ascii")
        nltk.data.path.append(private)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader = reader_class(private, None)
            yield reader
        finally:
            nltk.data.path.remove(private)


def tag_counts(folder: Path) -> dict[str, int]:
    """Sense key -> how often SemCor tags it; each line of cntlist.rev is `sense_key sense_number tag_cnt`."""
    lines = (folder / "cntlist.rev").read_text(encoding="ascii").splitlines()
    return {fields[0]: int(fields[2]) for fields in map(str.split, lines)}


def irregular_plurals(folder: Path) -> list[tuple[str, str]]:
    """(plural key, singular key) of noun.exc, sorted."""
    pairs = []
    for line in (folder / "noun.exc").read_text(encoding="ascii").splitlines():
        plural, singular = line.split()[:2]
        pairs.append((key_of(plural), key_of(singular)))
    return sorted(set(pairs))
