"""The written captions: their nouns are found, their mistakes are as frequent as asked for, the truth is told apart."""

from collections.abc import Iterator

import numpy as np
import pytest

from xpm_stream.data.synthetic import SyntheticConfig
from xpm_stream.data.synthetic.captions import ADJECTIVES, PLACES, Caption, Mention, write_captions
from xpm_stream.data.synthetic.catalog import (
    BASE_ORDER,
    CLASSES,
    TARGET_ORDER,
    UNANNOTATED_ORDER,
    plural_of,
    split_classes,
)
from xpm_stream.errors import ConfigError
from xpm_stream.text.caption_nouns import CaptionNouns

ALL_CLASSES = {
    "base_classes": len(BASE_ORDER),
    "target_classes": len(TARGET_ORDER),
    "unannotated_classes": len(UNANNOTATED_ORDER),
}


@pytest.fixture(scope="module")
def nouns() -> CaptionNouns:
    return CaptionNouns.load()


def captioned(number: int, **settings: object) -> Iterator[tuple[list[str], list[Caption]]]:
    """(words shown, captions) of that many imagined pictures."""
    config = SyntheticConfig(**{**ALL_CLASSES, **settings})  # type: ignore[arg-type]
    vocabulary = split_classes(config).all
    for index in range(number):
        rng = np.random.default_rng([3, index])
        picked = rng.integers(len(vocabulary), size=int(rng.integers(1, 5)))
        words = [vocabulary[int(k)] for k in picked]
        if rng.random() < 0.3:
            words.append(words[0])
        yield words, write_captions(words, config=config, vocabulary=vocabulary, rng=rng)


def canonical_of(mention: Mention, nouns: CaptionNouns) -> str | None:
    spoken = (mention.word, *CLASSES[mention.word].synonyms)
    return nouns.canonical(next(word for word in spoken if mention.said in (word, plural_of(word))))


@pytest.mark.parametrize("word", sorted(CLASSES))
def test_every_class_is_a_canonical_object_noun_alone_and_as_a_plural(word: str, nouns: CaptionNouns) -> None:
    assert nouns.canonical(word) == word
    assert nouns.find(f"two {plural_of(word)} here") == [word]
    for spoken in (word, *CLASSES[word].synonyms):
        canonical = nouns.canonical(spoken)
        assert canonical is not None
        for adjective in ADJECTIVES:  # "little owl" and "fancy dress" are other things
            assert nouns.find(f"there is a {adjective} {spoken} here") == [canonical]
            assert nouns.find(f"two {adjective} {plural_of(spoken)} here") == [canonical]


def test_captions_nouns_are_the_mentioned_objects_and_places_and_nothing_else(nouns: CaptionNouns) -> None:
    for _, captions in captioned(1500, synonym_rate=0.3, place_rate=0.6, nounless_rate=0.05):
        for caption in captions:
            found = set(nouns.find(caption.text))
            mentioned = {canonical_of(mention, nouns) for mention in caption.mentions}
            assert mentioned <= found, caption.text
            assert found - mentioned <= set(PLACES.values()), caption.text


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_the_share_of_wrong_nouns_is_what_was_asked_for(rate: float) -> None:
    wrong = total = 0
    for words, captions in captioned(3000, wrong_noun_rate=rate, omission_rate=0.0):
        mentions = {mention.word: mention.right for caption in captions for mention in caption.mentions}
        assert all((word in words) == right for word, right in mentions.items())
        wrong += sum(not right for right in mentions.values())
        total += len(mentions)
    assert wrong / total == pytest.approx(rate, abs=0.015)


def test_captions_of_one_picture_agree_on_their_mistakes() -> None:
    for _, captions in captioned(200, wrong_noun_rate=0.5, omission_rate=0.0, captions=(3, 3)):
        assert len({frozenset((m.word, m.right) for m in caption.mentions) for caption in captions}) == 1


def test_a_caption_leaves_out_as_many_classes_as_was_asked_for() -> None:
    said = shown = 0
    for words, captions in captioned(2000, omission_rate=0.3):
        if len(set(words)) < 3:
            continue
        for caption in captions:
            said += len(caption.mentions)
            shown += len(set(words)) if caption.mentions else 0
    # A caption that would leave out everything keeps one, so slightly fewer are omitted.
    assert 1.0 - said / shown == pytest.approx(0.29, abs=0.02)


def test_counts_are_told_in_plurals() -> None:
    told = [m for _, captions in captioned(800) for c in captions for m in c.mentions if m.count > 1]
    assert len(told) > 50
    spoken = {mention.word: {plural_of(w) for w in (mention.word, *CLASSES[mention.word].synonyms)} for mention in told}
    assert all(mention.said in spoken[mention.word] for mention in told)


def test_pictures_without_nouns_are_as_frequent_as_was_asked_for() -> None:
    silent = [not any(caption.mentions for caption in captions) for _, captions in captioned(2000, nounless_rate=0.25)]
    assert np.mean(silent) == pytest.approx(0.25, abs=0.03)


def test_no_caption_is_empty_or_broken_over_lines() -> None:
    texts = [caption.text for _, captions in captioned(500) for caption in captions]
    assert all(text.strip() == text and text and "\n" not in text and "  " not in text for text in texts)
    assert len(set(texts)) > 0.95 * len(texts)


def test_base_target_and_unannotated_words_share_none() -> None:
    words = (*BASE_ORDER, *TARGET_ORDER, *UNANNOTATED_ORDER)
    assert len(set(words)) == len(words) == len(CLASSES)


def test_more_classes_than_are_drawn_is_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(ConfigError, match=rf"target_classes is 99, but the catalog has {len(TARGET_ORDER)}"):
        split_classes(SyntheticConfig(target_classes=99))


def test_a_range_the_wrong_way_round_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="objects: the low end 4 is above the high end 2"):
        SyntheticConfig(objects=(4, 2))
