"""What all region methods share: network, words, views, L_GT, detection; a method adds its labels and losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseImage
from xpm_stream.engines import build_engine
from xpm_stream.engines.base import DetectionLimits, Detections, Features, Regions
from xpm_stream.learning.grounding import Company, Matching
from xpm_stream.learning.losses import require_finite
from xpm_stream.learning.views import ViewGeometry, plan_view, view_pixels
from xpm_stream.methods.base import Batch, CaptionImage, LabelledImage
from xpm_stream.methods.caption_grounding import CaptionBatch, collate_captions, ground_captions
from xpm_stream.methods.found_objects import FoundObjects, found_objects
from xpm_stream.methods.region_batch import PseudoTruth, RegionBatch, collate_regions, pad_views
from xpm_stream.networks.class_embeddings import ClassEmbeddings, VocabularyEmbeddings, WordEmbedder
from xpm_stream.networks.text_encoder import TextEmbedder
from xpm_stream.records import Annotation
from xpm_stream.text.caption_nouns import CaptionNouns
from xpm_stream.vocabulary import Vocabulary

Pixels = npt.NDArray[np.uint8]  # H x W x 3, RGB
_OBSERVATIONS_KEPT = 4096  # values of one name between two looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the network sees in a batch of stored images, before any word is asked."""

    features: Features
    geometries: list[ViewGeometry]
    proposals: list[Tensor]  # for each image [P, 4], view pixels
    regions: Regions  # embeddings of all proposals, image after image


class TeacherStudent(ABC):
    """A region method: one network of an engine, words as classes, ground truth on base images."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        """`embedder` gives the text embeddings; none: the encoder that `config.text` names."""
        self._config = config
        self._base_classes = list(base_classes)
        self._class_index = {name: index for index, name in enumerate(self._base_classes)}
        self._embeddings = ClassEmbeddings(embedder or TextEmbedder(config.text))
        # As captions are read: a base class and the noun that names it are one word of V_C.
        nouns = CaptionNouns.load()
        base_words = dict.fromkeys(nouns.canonical(name) or name for name in self._base_classes)
        self.vocabulary = Vocabulary(base_words, max_size=config.text.max_vocabulary, min_count=config.text.min_count)
        self._engine = build_engine(config.model, text_dimension=self._embeddings.dimension)
        self._observed: dict[str, deque[float]] = {}
        self._vocabulary_table = VocabularyEmbeddings(self._embeddings)

    @property
    def network(self) -> nn.Module:
        """The network this process labels with (labeler) or trains (trainer)."""
        return self._engine.network

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def load_starting_weights(self) -> None:
        """Load the weights `model.weights` names; only a fresh first teacher needs them, so only it may fetch them.

        Raises:
            ConfigError: they cannot be found, fetched or fitted.
        """
        self._engine.load_starting_weights()

    @abstractmethod
    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Pseudo-label images with the network as it is; one annotation for each image, in order."""

    @abstractmethod
    def caption_losses(self, features: Features, pseudo: Sequence[PseudoTruth]) -> dict[str, Tensor]:
        """Return the losses on caption images; always the same names, also where no image has an instance."""

    @abstractmethod
    def teacher_changed(self) -> None:
        """Forget statistics that belonged to the previous teacher's weights."""

    def collate(
        self, labelled: Sequence[LabelledImage], base: Sequence[BaseImage], *, rng: np.random.Generator
    ) -> Batch:
        """Make a CPU batch: views drawn with `rng`, padded. Runs in a loader thread; either list may be empty."""
        return collate_regions(
            labelled,
            base,
            class_index=self._class_index,
            config=self._config.model,
            mirror_probability=self._config.trainer.horizontal_flip,
            rng=rng,
        )

    def note_words(self, words: Sequence[Sequence[str]]) -> None:
        """Let the vocabulary grow by the words of the coming step."""
        for of_sample in words:
            self.vocabulary.add(of_sample)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """One backbone pass for all images; L_GT on the base images, the method's losses on the caption images.

        Raises:
            TrainingError: a loss is not finite.
        """
        assert isinstance(batch, RegionBatch)
        self.network.train()
        self._prepare_training(batch)
        batch = batch.to(self.device)
        num_base = len(batch.truth)
        features = self._engine.extract(batch.images)
        losses: dict[str, Tensor] = {}
        if batch.truth:
            classes = self._embeddings.of(self._base_classes, device=self.device)
            losses |= self._engine.detection_losses(features.narrow(0, num_base), batch.truth, class_embeddings=classes)
        if batch.pseudo:
            losses |= self.caption_losses(features.narrow(num_base, len(batch.images)), batch.pseudo)
        if not batch.truth:
            # Without base images some heads did not run; replicas of a distributed run wait for every gradient.
            first = next(iter(losses))
            losses[first] = losses[first] + 0.0 * _sum_of_parameters(self.network)
        require_finite(losses)
        return losses

    def collate_captions(self, images: Sequence[CaptionImage], *, rng: np.random.Generator) -> Batch:
        """Make a CPU batch of caption images without labels. Runs in a loader thread."""
        return collate_captions(images, config=self._config, rng=rng)

    def ground(self, batch: Batch, *, regions: Literal["windows", "proposals"], company: Company) -> Matching:
        """Match images with captions by their words and regions (OVR); every rank calls this together.

        Raises:
            TrainingError: a loss is not finite.
        """
        assert isinstance(batch, CaptionBatch)
        self.network.train()
        batch = replace(batch, images=batch.images.to(self.device))
        matching = ground_captions(
            self._engine, self._embeddings, batch, config=self._config, regions=regions, company=company
        )
        require_finite(matching.losses)
        return matching

    def freeze_embedding(self) -> None:
        """Let the layer that embeds regions into the text space stay as it is; before an optimiser is made."""
        self._engine.embedding_layer.requires_grad_(False)

    def _prepare_training(self, batch: RegionBatch) -> None:  # noqa: B027  # most methods have nothing to do here
        """For methods that keep parts of the network from learning; the network is in training mode."""

    def observations(self) -> dict[str, list[float]]:
        """Return and forget values seen in the last steps, for histograms (`reliability`, `noise`, ...)."""
        seen = {name: list(values) for name, values in self._observed.items()}
        self._observed.clear()
        return seen

    def state(self) -> dict[str, Any]:
        """JSON-able state beside the weights: vocabulary with counts."""
        return {"vocabulary": self.vocabulary.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state written by `state()`; word indices stay as they were."""
        self.vocabulary = Vocabulary.from_state(state["vocabulary"])

    @torch.inference_mode()
    def detect(self, images: Sequence[Pixels], vocabularies: Sequence[Sequence[str]]) -> list[list[FoundObjects]]:
        """Find objects by name: one list for each vocabulary, one item for each image, in pixels of the image."""
        if not images:
            return [[] for _ in vocabularies]
        features, geometries = self._extract(images)
        settings = self._config.evaluation
        answers = self._engine.detect(
            features,
            vocabularies=[self._embeddings.of(words, device=self.device) for words in vocabularies],
            limits=DetectionLimits(
                score_threshold=settings.score_threshold,
                nms_iou=settings.nms_iou,
                max_detections=settings.max_detections,
            ),
        )
        return [
            [
                found_objects(detections, geometry=geometry, words=words)
                for detections, geometry in zip(answer, geometries, strict=True)
            ]
            for answer, words in zip(answers, vocabularies, strict=True)
        ]

    @torch.inference_mode()
    def detect_rated(
        self, images: Sequence[Pixels], words: Sequence[str], *, score_threshold: float, max_detections: int
    ) -> list[FoundObjects]:
        """Find objects by name as `detect` does, each with the reliability that labels of this method carry."""
        if not images:
            return []
        features, geometries = self._extract(images)
        limits = DetectionLimits(
            score_threshold=score_threshold,
            nms_iou=self._config.evaluation.nms_iou,
            max_detections=max_detections,
        )
        vocabulary = self._embeddings.of(words, device=self.device)
        (answer,) = self._engine.detect(features, vocabularies=[vocabulary], limits=limits)
        rated: Sequence[Tensor | None] | None = self.rate(features, answer, words=words)
        if rated is None:
            rated = [None] * len(answer)
        return [
            found_objects(detections, geometry=geometry, words=words, reliability=reliability)
            for detections, geometry, reliability in zip(answer, geometries, rated, strict=True)
        ]

    def rate(self, features: Features, found: Sequence[Detections], *, words: Sequence[str]) -> list[Tensor] | None:
        """Return the reliability [K] of each image's detections, 0..1; none where labels of this method have none."""
        return None

    @torch.inference_mode()
    def class_embeddings(self) -> tuple[list[str], Tensor]:
        """Return the base classes and the words of V_C, N together, and their text embeddings [N, D] on the CPU."""
        words = list(dict.fromkeys([*self._base_classes, *self.vocabulary.words]))
        return words, self._embeddings.of(words, device=self.device).float().cpu()

    @torch.inference_mode()
    def propose_boxes(self, images: Sequence[Pixels]) -> list[npt.NDArray[np.float32]]:
        """Return for each image its class-agnostic proposals [P, 4] in pixels of the image, best first."""
        if not images:
            return []
        scene = self._look(images)
        return [
            geometry.boxes_to_stored(boxes).cpu().numpy()
            for boxes, geometry in zip(scene.regions.refined_xyxy, scene.geometries, strict=True)
        ]

    @torch.inference_mode()
    def noise_maps(
        self, images: Sequence[Pixels], boxes_xyxy: Sequence[npt.ArrayLike]
    ) -> list[npt.NDArray[np.float32]]:
        """Return g_noise (variances) on the RoI grid of given boxes [K, 4] in pixels of each image: [K, g, g] each."""
        features, geometries = self._extract(images)
        boxes = [
            geometry.boxes_to_view(torch.as_tensor(np.asarray(given), dtype=torch.float32).reshape(-1, 4)).to(
                self.device
            )
            for given, geometry in zip(boxes_xyxy, geometries, strict=True)
        ]
        noise = self._engine.segment_regions(features, boxes).noise_log_variance.exp()
        return [part.cpu().numpy() for part in torch.split(noise, [len(part) for part in boxes])]

    def _extract(self, images: Sequence[Pixels]) -> tuple[Features, list[ViewGeometry]]:
        self.network.eval()
        model = self._config.model
        geometries = [
            plan_view((image.shape[0], image.shape[1]), short_side=model.image_size, long_side=model.max_image_size)
            for image in images
        ]
        views = [view_pixels(image, geometry) for image, geometry in zip(images, geometries, strict=True)]
        return self._engine.extract(pad_views(views).to(self.device)), geometries

    def _look(self, images: Sequence[Pixels]) -> Scene:
        features, geometries = self._extract(images)
        proposals = self._engine.propose(features)
        regions = self._engine.embed_regions(features, proposals)
        return Scene(features=features, geometries=geometries, proposals=proposals, regions=regions)

    def _vocabulary_embeddings(self) -> Tensor:
        """V_C's embeddings [V, D] by index."""
        return self._vocabulary_table.of(self.vocabulary, device=self.device)

    def _observe(self, name: str, values: Sequence[float]) -> None:
        self._observed.setdefault(name, deque(maxlen=_OBSERVATIONS_KEPT)).extend(values)


def _sum_of_parameters(network: nn.Module) -> Tensor:
    return torch.stack([parameter.sum() for parameter in network.parameters() if parameter.requires_grad]).sum()
