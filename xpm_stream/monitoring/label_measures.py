"""What the drift statistics take from a label message."""

from __future__ import annotations

from collections.abc import Sequence

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.records import Finding, LabelMessage


def measures_of(label: LabelMessage) -> LabelMeasures:
    """Return a label's numbers and words, whatever kind of annotation it has.

    Words are the captions' nouns, whether the teacher found them or not: they are the data's. A label that an older
    release wrote has no `nouns_per_caption`.
    """
    return measures_of_findings(label.findings(), nouns_per_caption=label.nouns_per_caption, words=label.words)


def measures_of_findings(
    findings: Sequence[Finding], *, nouns_per_caption: Sequence[int], words: Sequence[str]
) -> LabelMeasures:
    """Return the numbers of what a teacher said of an image, with the words of its captions."""
    return LabelMeasures(
        scores=[one.score for one in findings],
        reliabilities=[one.reliability for one in findings if one.reliability is not None],
        box_area_shares=[one.area_share for one in findings if one.area_share is not None],
        nouns_per_caption=nouns_per_caption,
        words=words,
    )
