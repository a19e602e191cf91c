from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.errors import TextError
from xpm_stream.text import CaptionNouns
from xpm_stream.text.caption_nouns import class_synonyms

CLASS_NAMES = Path(__file__).parents[1] / "data"
NOUNS = CaptionNouns.load()


def class_names(stem: str) -> list[str]:
    lines = (CLASS_NAMES / f"class_names_{stem}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("A hot dog and a dog.", ["hot dog", "dog"]),
        ("Hot, dog tired.", ["dog"]),
        ("Two teddy-bears on a COUCH beside a sofa", ["teddy bear", "couch", "sofa"]),
        ("buses, knives, wolves, mice, men, women, children and people", "bus knife wolf mouse man woman child person"),
        ("A doughnut, three donuts and cookies", ["donut", "cookie"]),
        ("chests of drawers next to wine glasses", ["chest of drawers", "wine glass"]),
        ("a glass vase with two glasses of water", ["vase", "glass"]),
        ("The man's hat; the dogs' beds", ["man", "hat", "dog", "bed"]),
        ("A sandwich, a pizza slice and a view of the mountains", ["sandwich", "pizza", "mountain"]),
        ("a potted plant by the tv and a remote", ["potted plant", "tv", "remote"]),
        ("An old man and a young woman with a pair of scissors", ["man", "woman", "scissors"]),
        ("", []),
        ("!!! ... ???", []),
    ],
)
def test_nouns_are_found_in_order_longest_match_first_in_canonical_form(caption: str, nouns: list[str] | str) -> None:
    assert NOUNS.find(caption) == (nouns.split() if isinstance(nouns, str) else nouns)


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("A man is watching a dog", ["man", "dog"]),
        ("A man watches a dog", ["man", "dog"]),
        ("A man with a gold watch", ["man", "watch"]),
        ("A man in a hat and he watches a dog", ["man", "hat", "dog"]),
        ("This can be a dog", ["dog"]),
        ("You can see a can of soda", ["can", "soda"]),
        ("Two cars park near the park", ["car", "park"]),
        ("People ski down a hill on skis", ["person", "hill", "skis"]),
        ("A dog stands on a wooden stand", ["dog", "stand"]),
        ("An orange cat beside an orange and an orange and white bowl", ["cat", "orange", "bowl"]),
        ("The wall is orange", ["wall"]),
        ("a brown bear and a kitchen sink under a light blue wall", ["brown bear", "kitchen sink", "wall"]),
        ("Boys playing baseball with a baseball", ["boy", "baseball"]),
        ("A photo of a dog looking at a photo on the wall", ["dog", "photo", "wall"]),
    ],
)
def test_verbs_adjectives_and_words_for_the_image_are_told_apart_by_their_neighbours(
    caption: str, nouns: list[str]
) -> None:
    assert NOUNS.find(caption) == nouns


def test_several_captions_of_one_image_give_one_union_in_order() -> None:
    assert NOUNS.find_all(["A cat on a mat", "A dog and cats", ""]) == ["cat", "mat", "dog"]
    assert NOUNS.find_all([]) == []


@pytest.mark.parametrize("stem", ["coco", "lvis_v1", "open_images"])
def test_every_class_name_is_one_noun_of_stable_canonical_form(stem: str) -> None:
    for name in class_names(stem):
        first = class_synonyms(name)[0]
        canonical = NOUNS.canonical(name)
        assert canonical is not None, name
        assert NOUNS.find(first) == [canonical], name
        assert NOUNS.canonical(canonical) == canonical, name
        assert NOUNS.find(f"There is a {first}.") == [canonical], name


def test_the_lists_of_class_names_are_whole() -> None:
    assert [len(class_names(stem)) for stem in ("coco", "lvis_v1", "open_images")] == [80, 1203, 601]


def test_coco_names_are_their_own_canonical_form_and_their_plurals_are_found() -> None:
    for name in class_names("coco"):
        assert NOUNS.canonical(name) == name
    for plural, name in {"persons": "person", "skis": "skis", "couches": "couch", "mice": "mouse"}.items():
        assert NOUNS.find(f"some {plural}") == [name]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("bow_(weapon)", "bow"),
        ("Bat (Animal)", "bat"),
        ("aerosol_can", "aerosol can"),
        ("aerosol can/spray can", "aerosol can"),
        ("Kitchen & dining room table", "kitchen & dining room table"),
        ("view", None),
        ("", None),
        ("()", None),
    ],
)
def test_class_names_are_read_as_class_lists_write_them(name: str, canonical: str | None) -> None:
    assert NOUNS.canonical(name) == canonical


@pytest.mark.parametrize(
    "word", ["view", "sky", "happiness", "Paris", "the", "a", "it", "is", "top", "people watching"]
)
def test_what_names_no_object_is_no_noun(word: str) -> None:
    assert NOUNS.find(word) in ([], ["person"])


def test_extra_words_are_taken_exactly_as_written_and_win_over_the_lexicon() -> None:
    nouns = CaptionNouns.load(extra_words=["Zorblax 3000", "hot dog stand", "view", "E-Scooter"])
    assert nouns.find("two zorblax 3000s, a HOT DOG STAND with a view; e-scooters") == [
        "Zorblax 3000",
        "hot dog stand",
        "view",
        "E-Scooter",
    ]
    assert NOUNS.find("a view") == []
    with pytest.raises(TextError, match="holds no letter or digit"):
        CaptionNouns.load(extra_words=["--"])


def test_accents_full_width_letters_and_other_scripts_do_no_harm() -> None:
    assert NOUNS.find("Jalapeño near a ＤＯＧ, 猫 и кот 🐶 \ud800 dog\u200bs") == ["jalapeno", "dog"]


def test_a_caption_of_100_kb_takes_linear_time() -> None:
    for text in (
        "a dog on a hot hot dog " * 5000,
        "chest of " * 12_000,
        "x" * 100_000,
        " ".join(map(str, range(20_000))),
    ):
        started = time.perf_counter()
        NOUNS.find(text)
        assert time.perf_counter() - started < 2.0


@given(st.text(max_size=200))
def test_any_text_gives_distinct_words_and_never_fails(caption: str) -> None:
    found = NOUNS.find(caption)
    assert len(found) == len(set(found))
    assert CaptionNouns.load().find(caption) == found


@given(st.lists(st.sampled_from(class_names("coco")), min_size=1, max_size=8, unique=True))
def test_a_list_of_class_names_is_found_again(names: list[str]) -> None:
    assert NOUNS.find(", ".join(f"a {name}" for name in names)) == names


def test_nouns_of_real_captions_name_the_objects_that_were_annotated(coco_tiny: Path) -> None:
    """Recall against masks: where a caption writes a COCO class name, the noun is found."""
    captions = json.loads((coco_tiny / "annotations" / "captions_train2017.json").read_text(encoding="utf-8"))
    texts = [annotation["caption"] for annotation in captions["annotations"]]
    found = {noun for text in texts for noun in NOUNS.find(text)}
    assert {"person", "dog", "train", "bus", "scissors", "parking meter", "pizza", "sink", "teddy bear"} <= found
    assert found.isdisjoint({"view", "top", "front", "sky", "sitting", "group", "side", "one", "can see"})
    assert sum(bool(NOUNS.find(text)) for text in texts) / len(texts) > 0.97
