"""A teacher ready to label: a network of its own that follows the promotion log."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xpm_stream.methods import find_method
from xpm_stream.methods.base import CaptionImage
from xpm_stream.records import Annotation
from xpm_stream.stages.devices import autocast
from xpm_stream.stages.process import Role
from xpm_stream.stages.teachers import TeacherFollower


class LabellingTeacher:
    """Labels with whatever teacher its follower has loaded."""

    def __init__(self, role: Role, *, base_classes: Sequence[str], device: torch.device) -> None:
        config = role.config
        self._device = device
        self._precision = config.labeler.precision
        self._method = find_method(config.method)(config, base_classes=base_classes)
        self._method.network.to(device).eval()
        self.follower = TeacherFollower(
            self._method, config=config, checkpoints=role.checkpoints, promotions=role.promotions
        )

    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Label images with the teacher as it is loaded now: one annotation for each, in order."""
        with torch.inference_mode(), autocast(self._device, precision=self._precision):
            return self._method.label(images)
