"""The reliability of detections: what `xpm.reliability` says of a label, said of an object that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xpm_stream.config.method_sections import XpmConfig
from xpm_stream.engines.base import DetectionEngine, Detections, Features
from xpm_stream.learning.confidence import DropoutPasses, evidence_as_probability, log_normaliser, pixel_score
from xpm_stream.learning.losses import mean_noise, noise_reliability
from xpm_stream.learning.reliability import StandardisedReliability


def rate_detections(
    engine: DetectionEngine,
    features: Features,
    found: Sequence[Detections],
    *,
    asked: Tensor,
    vocabulary: Callable[[], Tensor],
    words: Sequence[str],
    config: XpmConfig,
    standardised: StandardisedReliability,
    eta: float | None,
    dropout: DropoutPasses,
) -> list[Tensor] | None:
    """Return the reliability [K] of each image's detections, 0..1, judged at the detections' own boxes.

    Args:
        engine: of the network that found them.
        features: of the images.
        found: for each image, its detections.
        asked: [W, D] text embeddings of the words asked for; they stand where a label has its caption's words.
        vocabulary: gives [V, D], V_C with the words asked for; called only where that is compared with.
        words: the W words.
        config: which reliability, from which class evidence.
        standardised: statistics by word; without any, there is no standardised reliability.
        eta: Eq. 7's; without it, there is no reliability from noise.
        dropout: of `dropout_entropy`; its draws are the same each time.

    Returns:
        None where what it needs was never measured: statistics by word are a labeler's, and not in checkpoints of a
        trainer.
    """
    name, boxes = config.reliability, [one.boxes_xyxy for one in found]
    if (name == "standardised" and not standardised.state()) or (name == "noise" and eta is None):
        return None
    if name in ("pixel_score", "noise"):
        masks = engine.segment_regions(features, boxes)
        if name == "pixel_score":
            return _by_image(pixel_score(masks.logits), found)
        assert eta is not None
        return _by_image(noise_reliability(mean_noise(masks.noise_log_variance), eta=eta), found)
    embeddings = engine.embed_regions(features, boxes).embeddings
    if name == "dropout_entropy":
        table = vocabulary()
        with torch.random.fork_rng(devices=[embeddings.device] if embeddings.is_cuda else []):
            torch.manual_seed(0)
            return _by_image(dropout.certainty(embeddings, lambda some: engine.logits(some, table)), found)
    logits = engine.logits(embeddings, asked)
    evidence = logits.gather(1, _classes(found)[:, None] + 1)[:, 0]
    if config.reliability_score == "caption":
        evidence = evidence - logits.logsumexp(dim=1)
    elif config.reliability_score == "vocabulary":
        evidence = evidence - log_normaliser(embeddings, vocabulary(), logits=engine.logits)
    if name == "class_score":
        return _by_image(evidence_as_probability(config.reliability_score, evidence), found)
    named = [words[index] for index in _classes(found).tolist()]
    scores = [standardised.score(word, value) for word, value in zip(named, evidence.tolist(), strict=True)]
    return _by_image(torch.tensor(scores), found)


def _classes(found: Sequence[Detections]) -> Tensor:
    return torch.cat([one.class_indices for one in found])


def _by_image(values: Tensor, found: Sequence[Detections]) -> list[Tensor]:
    return list(torch.split(values.float().clamp(0, 1), [len(one.boxes_xyxy) for one in found]))
