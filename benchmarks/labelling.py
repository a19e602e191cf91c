"""Images a second of label() against the same network's bare inference loop.

    python -m benchmarks.labelling

The bare loop is what the network alone must do for a label: backbone, proposals, embedding head on all proposals, mask
head on as many boxes as there are words; its images are already tensors on the device. label() adds views, words,
scores over the vocabulary, assignment, reliability and packing.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from benchmarks.figures import Figure, Goal, paired_ratios, print_figures
from benchmarks.region_workload import (
    build_method,
    caption_images,
    parse_arguments,
    print_machine,
    time_interleaved,
)
from xpm_stream.learning.views import plan_view, view_pixels
from xpm_stream.methods.region_batch import pad_views
from xpm_stream.stages.devices import choose_device


def measure(arguments: argparse.Namespace) -> list[Figure]:
    """label() against the bare loop, in turns."""
    device = choose_device("auto", threads=arguments.threads)
    method = build_method(arguments, device=device)
    images = caption_images(arguments.images, size=arguments.image_size)
    size = arguments.image_size
    geometry = plan_view((size, size), short_side=size, long_side=size)
    views = pad_views([view_pixels(image.pixels, geometry) for image in images]).to(device)
    engine = method._engine
    counts = [len(image.words) for image in images]

    @torch.inference_mode()
    def bare() -> None:
        method.network.eval()
        features = engine.extract(views)
        proposals = engine.propose(features)
        regions = engine.embed_regions(features, proposals)
        boxes = [refined[:count] for refined, count in zip(regions.refined_xyxy, counts, strict=True)]
        engine.segment_regions(features, boxes).logits.cpu()

    def ours() -> None:
        method.label(images)

    our_s, bare_s = time_interleaved(
        [ours, bare], repetitions=arguments.repetitions, device=device, precision=arguments.precision
    )
    rates = [len(images) / statistics.median(seconds) for seconds in (our_s, bare_s)]
    return [
        Figure(
            name="labelling images/s : bare inference loop",
            values=paired_ratios(bare_s, our_s),
            unit="ratio",
            goal=Goal(bound=0.85),
            detail=f"label() {rates[0]:.1f} images/s, bare loop {rates[1]:.1f}; backbone {arguments.backbone}, "
            f"batches of {len(images)} images of {size} px, {arguments.proposals} proposals",
        )
    ]


if __name__ == "__main__":
    asked = parse_arguments(__doc__ or "")
    print_figures(measure(asked))
    print_machine(choose_device("auto", threads=asked.threads), precision=asked.precision)
