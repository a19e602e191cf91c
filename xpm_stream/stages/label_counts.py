"""A labeler's counts of what became of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xpm_stream.label_queue import Reject
from xpm_stream.records import LabelMessage
from xpm_stream.stages.process import Role


def count_outcomes(
    role: Role, labels: Sequence[LabelMessage], skips: Mapping[str, int], rejects: Sequence[Reject]
) -> None:
    """Count a committed batch: its labels, how many were skipped by reason, and its rejects, which are logged."""
    metrics = role.metrics.labeler
    metrics.batches.inc()
    metrics.samples_labelled.inc(len(labels))
    for reason, number in skips.items():
        metrics.samples_skipped.labels(reason).inc(number)
    for reject in rejects:
        metrics.samples_rejected.labels(reject.reason).inc()
        role.log.warning("rejected", ordinal=reject.ordinal, reason=reject.reason, detail=reject.detail)
    for label in labels:
        findings = label.findings()
        metrics.instances.observe(len(findings))
        if not findings:
            metrics.empty_labels.inc()
        for finding in findings:
            metrics.score.observe(finding.score)
            if finding.reliability is not None:
                metrics.reliability.observe(finding.reliability)
