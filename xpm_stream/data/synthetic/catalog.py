"""The object classes: how each is called, coloured and drawn, and in which order corpora take them up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from xpm_stream.data.synthetic import (
    shapes_animals,
    shapes_buildings,
    shapes_food,
    shapes_home,
    shapes_plants,
    shapes_things,
    shapes_tools,
    shapes_vehicles,
)
from xpm_stream.data.synthetic.corpus_config import SyntheticConfig
from xpm_stream.data.synthetic.pen import Pen
from xpm_stream.errors import ConfigError


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# A larger corpus takes longer prefixes, so the classes of a smaller one stay base, target or unannotated.
BASE_ORDER: Final = _words(
    "apple fish house car clock bottle chair book tree key hammer duck banana lamp "
    "boat butterfly donut table hat bicycle drum cactus snail bed fork airplane flower turtle backpack rocket boot "
    "ladder carrot train camera bell suitcase shirt castle rabbit vase knife spider pizza bucket helicopter broom "
    "whale strawberry dress wrench crab laptop tulip screwdriver wheel"
)
TARGET_ORDER: Final = _words(
    "umbrella cup cat guitar mushroom anchor bus starfish kite teapot penguin leaf elephant candle envelope truck "
    "snake sock watermelon magnet television windmill hatchet bee"
)
UNANNOTATED_ORDER: Final = _words(
    "octopus balloon pineapple glove lighthouse spoon tent shovel trumpet giraffe cherry owl basket globe tractor cake "
    "telephone comb lollipop necktie hamburger bridge brush pear"
)

_DRAWINGS: Final = (
    shapes_animals,
    shapes_buildings,
    shapes_food,
    shapes_home,
    shapes_plants,
    shapes_things,
    shapes_tools,
    shapes_vehicles,
)

_PLURALS: Final = {
    "cactus": "cacti",
    "fish": "fish",
    "knife": "knives",
    "leaf": "leaves",
    "starfish": "starfish",
}

_SYNONYMS: Final = {
    "airplane": ("plane",),
    "backpack": ("rucksack",),
    "bicycle": ("bike",),
    "boat": ("sailboat",),
    "brush": ("paintbrush",),
    "bucket": ("pail",),
    "car": ("automobile",),
    "cat": ("kitten",),
    "cup": ("mug",),
    "donut": ("doughnut",),
    "hamburger": ("burger",),
    "house": ("cottage",),
    "necktie": ("tie",),
    "rabbit": ("bunny",),
    "telephone": ("phone",),
    "truck": ("lorry",),
    "wrench": ("spanner",),
}

_TYPICAL_COLOURS: Final[dict[str, str]] = {
    "apple": "red green",
    "anchor": "grey black",
    "banana": "yellow",
    "basket": "tan brown",
    "bee": "yellow gold",
    "bell": "gold",
    "boot": "brown black",
    "bus": "yellow red",
    "cactus": "green",
    "carrot": "orange",
    "castle": "grey tan",
    "cat": "black orange grey",
    "chair": "brown",
    "cherry": "red",
    "crab": "red orange",
    "duck": "yellow white brown",
    "elephant": "grey",
    "envelope": "white tan",
    "giraffe": "tan yellow",
    "guitar": "brown tan",
    "house": "cream red",
    "key": "gold silver",
    "ladder": "brown silver",
    "leaf": "green lime",
    "lighthouse": "red",
    "magnet": "red",
    "mushroom": "red brown",
    "octopus": "purple pink",
    "owl": "brown",
    "pear": "lime green",
    "penguin": "black blue",
    "pineapple": "gold",
    "pizza": "yellow",
    "rabbit": "white grey tan",
    "snake": "green",
    "spider": "black",
    "starfish": "orange pink",
    "strawberry": "red",
    "table": "brown tan",
    "tree": "green lime",
    "trumpet": "gold",
    "turtle": "green brown",
    "watermelon": "red",
    "whale": "blue",
    "wheel": "brown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectClass:
    """One kind of object."""

    word: str
    plural: str
    synonyms: tuple[str, ...]
    typical_colours: tuple[str, ...]
    draw: Callable[[Pen], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSplit:
    """Which words a corpus uses, by what is known of them."""

    base: tuple[str, ...]
    target: tuple[str, ...]
    unannotated: tuple[str, ...]
    late: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every word: base, target, unannotated."""
        return (*self.base, *self.target, *self.unannotated)

    def as_json(self) -> dict[str, list[str]]:
        """The lists by name."""
        return {
            "base": list(self.base),
            "target": list(self.target),
            "unannotated": list(self.unannotated),
            "late": list(self.late),
        }


def plural_of(word: str) -> str:
    """The plural of an English noun of the catalog (or of a synonym)."""
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _find_drawing(word: str) -> Callable[[Pen], None]:
    for module in _DRAWINGS:
        drawing: Callable[[Pen], None] | None = getattr(module, f"draw_{word}", None)
        if drawing is not None:
            return drawing
    raise AssertionError(f"no shapes module defines draw_{word}")


CLASSES: Final[dict[str, ObjectClass]] = {
    word: ObjectClass(
        word=word,
        plural=plural_of(word),
        synonyms=_SYNONYMS.get(word, ()),
        typical_colours=tuple(_TYPICAL_COLOURS.get(word, "").split()),
        draw=_find_drawing(word),
    )
    for word in (*BASE_ORDER, *TARGET_ORDER, *UNANNOTATED_ORDER)
}


def split_classes(config: SyntheticConfig) -> ClassSplit:
    """The words of a corpus; late words are the last of the target and of the unannotated ones.

    Raises:
        ConfigError: more classes are asked for than there are drawings.
    """
    parts = {}
    for name, order in (("base", BASE_ORDER), ("target", TARGET_ORDER), ("unannotated", UNANNOTATED_ORDER)):
        wanted = getattr(config, f"{name}_classes")
        if wanted > len(order):
            raise ConfigError(f"{name}_classes is {wanted}, but the catalog has {len(order)}; ask for fewer")
        parts[name] = order[:wanted]
    late: list[str] = []
    for words in (parts["target"], parts["unannotated"]):
        late.extend(words[len(words) - round(config.late_class_rate * len(words)) :])
    return ClassSplit(base=parts["base"], target=parts["target"], unannotated=parts["unannotated"], late=tuple(late))
