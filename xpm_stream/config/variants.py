"""`xpm.variant`: the switches by which the paper and its released code differ from this system's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

# Section and key to value. What a user sets wins; an unknown variant is left for validation to refuse.
VARIANTS: Final[Mapping[str, Mapping[tuple[str, str], object]]] = {
    "paper": {
        ("xpm", "assignment"): "argmax",
        ("xpm", "assignment_context"): "logit",
        ("xpm", "box_voting"): False,
        ("xpm", "box_refinements"): 1,
        ("xpm", "weighting"): "robust",
        ("xpm", "alpha_scope"): "object",
        ("xpm", "limit_alpha"): True,
        ("xpm", "background_in_cross_modal"): False,
        ("xpm", "pseudo_regions"): "boxes",
        ("xpm", "frozen_trunk"): False,
        ("model", "noise_shapes_masks"): True,
        ("teacher", "refresh"): "never",
    },
    "released": {
        ("xpm", "assignment"): "argmax",
        ("xpm", "assignment_context"): "logit",
        ("xpm", "box_voting"): False,
        ("xpm", "box_refinements"): 2,
        ("xpm", "weighting"): "robust",
        ("xpm", "alpha_scope"): "image",
        ("xpm", "limit_alpha"): False,
        ("xpm", "background_in_cross_modal"): True,
        ("xpm", "pseudo_regions"): "proposals",
        ("xpm", "frozen_trunk"): True,
        ("model", "noise_shapes_masks"): False,
        ("teacher", "refresh"): "never",
    },
}


def fill_variant(tree: Any) -> Any:
    """Return the configuration tree with the variant's switches where the user set none; anything else as it is."""
    if not isinstance(tree, Mapping):
        return tree
    chosen = (_what_is_set(tree.get("xpm")) or {}).get("variant")
    if not isinstance(chosen, str) or chosen not in VARIANTS:
        return tree
    filled = dict(tree)
    for (section, key), value in VARIANTS[chosen].items():
        given = _what_is_set(filled.get(section))
        if given is not None:
            filled[section] = {key: value, **given}
    return filled


def _what_is_set(section: Any) -> Mapping[str, Any] | None:
    """The keys that a user set in a section; none where it is no section at all, which validation will say."""
    if section is None:
        return {}
    if isinstance(section, BaseModel):
        return section.model_dump(exclude_unset=True)
    return section if isinstance(section, Mapping) else None
