"""The gates between a candidate and its promotion: what is compared with the champion, and what comes of it.

Pure: measuring is `stages.gate_measures`. A gate passes, fails, or is unknown (it could not be measured, or has to
wait). One that fails refuses the candidate; one that is unknown makes the verdict inconclusive, and the next candidate
is judged anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from xpm_stream.config.monitor_sections import GatesConfig

GateName = Literal[
    "files",
    "epoch",
    "steps",
    "samples",
    "base_ap50",
    "canary_agreement",
    "label_count",
    "word_entropy",
    "reliability",
    "drift_brake",
]
Outcome = Literal["pass", "fail", "unknown"]
Verdict = Literal["promote", "refuse", "inconclusive"]


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One gate of one candidate."""

    gate: GateName
    outcome: Outcome
    value: float | None = None  # what was measured
    limit: float | None = None  # what it was held against
    why: str  # for people

    def as_dict(self) -> dict[str, Any]:
        """Return it as the promotion log keeps it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class GateMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """What one checkpoint does on held-out and canary images. None: there is nothing to measure it on."""

    schema_version: int = 1
    checkpoint: str
    set_id: str  # of the images and settings measured with: only measures of one set can be compared
    base_ap50: float | None = None  # mask AP50 of base classes on held-out images, percent
    num_held_out: int = 0
    num_canary: int = 0
    labels_per_image: float | None = None  # pseudo instances on canary images
    word_entropy: float | None = None  # nats: of the words that detections on canary images get, by score
    mean_reliability: float | None = None  # of canary labels, 0..1
    seconds: float = 0.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a candidate is from the champion's candidate."""

    steps: int | None = None  # None: not of the streaming student, or the champion is not
    samples: int | None = None


def check_progress(progress: Progress, config: GatesConfig) -> list[GateResult]:
    """Return the gates of minimum steps and samples; none where nothing is asked for."""
    results = []
    for gate, done, least in (
        ("steps", progress.steps, config.min_steps),
        ("samples", progress.samples, config.min_samples),
    ):
        if not least or done is None:
            continue
        results.append(
            GateResult(
                gate=gate,  # type: ignore[arg-type]
                outcome="pass" if done >= least else "unknown",
                value=done,
                limit=least,
                why=f"{done} {gate} since the champion's, at least {least} are asked for",
            )
        )
    return results


def compare(
    candidate: GateMeasures, champion: GateMeasures, *, agreement: float | None, config: GatesConfig
) -> list[GateResult]:
    """Return the gates that hold a candidate's measures against the champion's.

    Args:
        candidate: what the candidate does.
        champion: what the champion does on the same images.
        agreement: share of canary labels both agree on, 0..1; None without a canary set.
        config: the limits.

    Raises:
        ValueError: the two were measured on different sets.
    """
    if candidate.set_id != champion.set_id:
        raise ValueError(f"measures of different sets: {candidate.set_id} and {champion.set_id}")
    return [
        *_base_ap(candidate, champion, config),
        *_agreement(agreement, config),
        *_label_count(candidate, champion, config),
        *_entropy(candidate, champion, config),
        *_reliability(candidate, champion, config),
    ]


def verdict_of(results: Sequence[GateResult]) -> tuple[Verdict, list[str]]:
    """Return what the gates say together, and why, for people."""
    failed = [one.why for one in results if one.outcome == "fail"]
    unknown = [one.why for one in results if one.outcome == "unknown"]
    if failed:
        return "refuse", failed
    if unknown:
        return "inconclusive", unknown
    return "promote", [one.why for one in results]


def _base_ap(candidate: GateMeasures, champion: GateMeasures, config: GatesConfig) -> Iterator[GateResult]:
    if candidate.base_ap50 is None or champion.base_ap50 is None:
        return
    limit = max(0.0, champion.base_ap50 - config.max_base_ap50_drop)
    yield _above(
        "base_ap50",
        candidate.base_ap50,
        limit,
        f"mask AP50 of base classes {candidate.base_ap50:.1f}, the champion's {champion.base_ap50:.1f}; "
        f"at least {limit:.1f} is asked for",
    )


def _agreement(agreement: float | None, config: GatesConfig) -> Iterator[GateResult]:
    if agreement is None:
        return
    least = config.min_canary_agreement
    yield _above(
        "canary_agreement",
        agreement,
        least,
        f"agrees with the champion on {100 * agreement:.0f} % of canary labels; "
        f"at least {100 * least:.0f} % is asked for",
    )


def _label_count(candidate: GateMeasures, champion: GateMeasures, config: GatesConfig) -> Iterator[GateResult]:
    if candidate.labels_per_image is None or champion.labels_per_image is None:
        return
    of_both = f"{candidate.labels_per_image:.2f} labels a canary image, the champion {champion.labels_per_image:.2f}"
    if not champion.labels_per_image:
        yield GateResult(gate="label_count", outcome="pass", value=None, limit=None, why=of_both)
        return
    ratio = candidate.labels_per_image / champion.labels_per_image
    low, high = config.min_label_ratio, config.max_label_ratio
    yield GateResult(
        gate="label_count",
        outcome="pass" if low <= ratio <= high else "fail",
        value=ratio,
        limit=low if ratio < 1 else high,
        why=f"{of_both}: a ratio of {ratio:.2f}, {low:g} to {high:g} is asked for",
    )


def _entropy(candidate: GateMeasures, champion: GateMeasures, config: GatesConfig) -> Iterator[GateResult]:
    if candidate.word_entropy is None or champion.word_entropy is None:
        return
    limit = champion.word_entropy * config.min_entropy_ratio
    yield _above(
        "word_entropy",
        candidate.word_entropy,
        limit,
        f"entropy of detected words {candidate.word_entropy:.2f} nats, the champion's {champion.word_entropy:.2f}; "
        f"at least {limit:.2f} is asked for",
    )


def _reliability(candidate: GateMeasures, champion: GateMeasures, config: GatesConfig) -> Iterator[GateResult]:
    before, now = champion.mean_reliability, candidate.mean_reliability
    if before is None:
        return
    if now is None:
        yield GateResult(
            gate="reliability", outcome="fail", why="gives canary labels no reliability, the champion gave some"
        )
        return
    limit = max(0.0, before - config.max_reliability_drop)
    yield _above(
        "reliability",
        now,
        limit,
        f"mean reliability of canary labels {now:.3f}, the champion's {before:.3f}; at least {limit:.3f} is asked for",
    )


def _above(gate: GateName, value: float, limit: float, why: str) -> GateResult:
    return GateResult(gate=gate, outcome="pass" if value >= limit else "fail", value=value, limit=limit, why=why)
