"""What the drift statistics take from labels: plain numbers and words, whatever kind of annotation they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

Measure = Literal["reliability", "score", "box_area_share", "nouns_per_caption", "instances_per_label"]


class LabelMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """One label as drift sees it. A sequence may be empty: the teacher gives no reliability, or found nothing."""

    scores: Sequence[float]  # teacher confidence of each instance, 0..1; its length is the number of instances
    reliabilities: Sequence[float] = ()  # 0..1
    box_area_shares: Sequence[float] = ()  # box area / image area of each instance, 0..1
    nouns_per_caption: Sequence[int] = ()  # one for each caption, zeros included
    words: Sequence[str] = ()  # one for each mention

    def values(self, measure: Measure) -> Sequence[float]:
        """Return the label's values of one measure."""
        if measure == "reliability":
            return self.reliabilities
        if measure == "score":
            return self.scores
        if measure == "box_area_share":
            return self.box_area_shares
        if measure == "nouns_per_caption":
            return self.nouns_per_caption
        return (len(self.scores),)
