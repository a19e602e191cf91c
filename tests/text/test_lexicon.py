from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xpm_stream.errors import TextError
from xpm_stream.text.lexicon import load_lexicon, shipped_lexicon
from xpm_stream.text.lexicon_build import build_lexicon
from xpm_stream.text.own_words import read_own_words
from xpm_stream.text.words import key_of, singulars_of

WORDNET = Path("/usr/share/wordnet")


def test_the_shipped_lexicon_is_small_and_loads_fast() -> None:
    assert len(shipped_lexicon()) < 1_000_000
    load_lexicon.cache_clear()
    started = time.perf_counter()
    lexicon = load_lexicon()
    assert time.perf_counter() - started < 1.0
    assert len(lexicon) == lexicon.header["spellings"] > 40_000


def test_every_canonical_spelling_is_itself_in_the_lexicon_and_canonical() -> None:
    lexicon = load_lexicon()
    for key, fields in lexicon.singles.items():
        canonical = fields.partition("\t")[0] or key
        tokens = key_of(canonical).split(" ")
        if len(tokens) == 1:
            target = lexicon.single(tokens[0])
            assert target is not None, (key, canonical)
            assert target.canonical == canonical, key
        else:
            targets = {" ".join(rest): entry.canonical for rest, entry in lexicon.phrases_from(tokens[0])}
            assert targets.get(" ".join(tokens[1:])) == canonical, (key, canonical)


def test_a_rebuild_gives_the_shipped_lexicon_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    if not (WORDNET / "index.sense").is_file() or not (WORDNET / "data.noun").is_file():
        pytest.skip("WordNet is not installed: apt install wordnet-base wordnet-sense-index")
    pytest.importorskip("nltk", reason="nltk is not installed: pip install 'xpm-stream[lexicon]'")
    # A process with a hash seed of its own: an order that leaks from a set would show.
    code = "import sys; from pathlib import Path; from xpm_stream.text.lexicon_build import build_lexicon; "
    code += "build_lexicon(Path(sys.argv[1]), Path(sys.argv[2]))"
    output = tmp_path / "lexicon.gz"
    subprocess.run([sys.executable, "-c", code, WORDNET, output], check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    rebuilt = gzip.decompress(output.read_bytes())
    # Only the packing may differ, between releases of zlib; this one packs equal text into equal bytes.
    assert rebuilt == gzip.decompress(shipped_lexicon())
    assert output.read_bytes() == gzip.compress(rebuilt, compresslevel=9, mtime=0)


def test_a_missing_wordnet_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("nltk", reason="nltk is not installed: pip install 'xpm-stream[lexicon]'")
    with pytest.raises(TextError, match=r"data\.noun.*apt install wordnet-base"):
        build_lexicon(tmp_path, tmp_path / "lexicon.gz")


@pytest.mark.parametrize("damage", ["cut", "version", "text", "missing"])
def test_a_lexicon_that_cannot_be_read_is_a_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "lexicon.gz"
    if damage == "cut":
        path.write_bytes(shipped_lexicon()[:5000])
    elif damage == "version":
        path.write_bytes(gzip.compress(json.dumps({"format": "xpm-stream lexicon", "version": 0}).encode()))
    elif damage == "text":
        path.write_text("not a lexicon", encoding="utf-8")
    with pytest.raises(TextError, match="xpm-stream lexicon build"):
        load_lexicon(path)


def test_a_lexicon_file_of_ones_own_is_read(tmp_path: Path) -> None:
    shutil.copyfile(Path(__file__).parents[2] / "xpm_stream/text/data/lexicon.txt.gz", tmp_path / "own.gz")
    assert len(load_lexicon(tmp_path / "own.gz")) == len(load_lexicon())


def test_the_own_list_names_a_line_outside_any_section() -> None:
    with pytest.raises(TextError, match=r"line 2: 'dog' is in no known section \('nonsense'\)"):
        read_own_words("[nonsense]\ndog\n")


def test_regular_plurals_have_their_singular_among_the_guesses() -> None:
    for plural, singular in {
        "buses": "bus",
        "boxes": "box",
        "berries": "berry",
        "scarves": "scarf",
        "dogs": "dog",
    }.items():
        assert singular in singulars_of(plural)
    assert singulars_of("glass") == ()


def test_text_imports_no_torch() -> None:
    code = "import sys, xpm_stream.text.lexicon_build, xpm_stream.vocabulary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
