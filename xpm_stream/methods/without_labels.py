"""Methods that learn from captions in pretraining (or beside detection) only: no labels, no stream."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xpm_stream.engines.base import Features
from xpm_stream.methods import require_labeler
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.region_batch import PseudoTruth
from xpm_stream.methods.teacher_student import TeacherStudent
from xpm_stream.records import Annotation


class WithoutLabels(TeacherStudent):
    """Base training with L_GT; `teach` trains it, `evaluate` judges it."""

    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Say that there are no labels.

        Raises:
            ConfigError: always.
        """
        require_labeler(self._config.method)
        raise AssertionError(f"{type(self).__name__} is not in WITHOUT_LABELER")

    def caption_losses(self, features: Features, pseudo: Sequence[PseudoTruth]) -> dict[str, Tensor]:
        """Say that there are no labels.

        Raises:
            ConfigError: always.
        """
        require_labeler(self._config.method)
        raise AssertionError(f"{type(self).__name__} is not in WITHOUT_LABELER")

    def teacher_changed(self) -> None:
        """No statistics belong to a teacher."""
