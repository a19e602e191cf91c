"""One teacher of a registry, which labels as labelers do and does not follow the promotion log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xpm_stream.config import RunConfig
from xpm_stream.errors import CheckpointError
from xpm_stream.methods.base import CaptionImage
from xpm_stream.records import Annotation, TeacherVersion
from xpm_stream.registry.checkpoint_folder import CHAMPION
from xpm_stream.registry.following import read_wanted
from xpm_stream.registry.promotion_log import PromotionEntry, PromotionLog
from xpm_stream.registry.revisions import Revision, Source, find_revision, find_source, info_of, reading
from xpm_stream.stages.devices import autocast, choose_device
from xpm_stream.stages.loaded_model import load_method, require_trusted_method
from xpm_stream.stages.network_files import NETWORK_FILES, checkpoint_config

_NEVER_PROMOTED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFiles:
    """A checkpoint that is to label."""

    checkpoint: str
    version: TeacherVersion  # promotion 0: it never was promoted
    files: Mapping[str, bytes]
    revoked: bool = False


class FixedTeacher:
    """Labels as a labeler does that has just started with this teacher: so it begins without statistics of words."""

    def __init__(self, found: TeacherFiles, *, like: RunConfig | None) -> None:
        """Load a teacher as the run `like` does; none: as the checkpoint's own configuration says.

        Raises:
            CheckpointError: the files do not fit the configuration.
            ConfigError: its method is a class that only the checkpoint names.
        """
        own = checkpoint_config(found.files, name=found.checkpoint)
        require_trusted_method(own.method, like, found.checkpoint)
        self.config = own if like is None else like
        self.checkpoint, self.version, self.revoked = found.checkpoint, found.version, found.revoked
        labeler = self.config.labeler
        self._device = choose_device(labeler.device, threads=labeler.threads)
        self._method = load_method(found.files, name=found.checkpoint, config=self.config, device=self._device)
        self._method.teacher_changed()

    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Label images: one annotation for each, in order."""
        if not images:
            return []
        with torch.inference_mode(), autocast(self._device, precision=self.config.labeler.precision):
            return self._method.label(images)


def read_teacher(url: str, revision: str = CHAMPION) -> TeacherFiles:
    """Read a checkpoint of a run, a registry or a URL: the champion, the number of an entry of the log, or a name.

    Raises:
        RegistryError: the URL is no registry, cannot be read, or has no such revision.
        CheckpointError: the checkpoint is removed or damaged.
        ConfigError: the run's configuration cannot be used.
    """
    with reading(url):
        source = find_source(url)
        if source.alone is None and revision == CHAMPION:
            log = PromotionLog(source.url)
            wanted = read_wanted(source.checkpoints, log.champion, only=NETWORK_FILES)
            if wanted is not None:
                entry, files = wanted
                return TeacherFiles(checkpoint=entry.checkpoint, version=entry.teacher, files=files)
        found = find_revision(source, revision)
        try:
            files = source.folder(found).read(only=NETWORK_FILES)
        except CheckpointError:
            info_of(source, found)  # says it better if it was removed
            raise
    version = _version_of(source, found)
    revoked = source.alone is None and version.promotion in PromotionLog(source.url).revoked()
    return TeacherFiles(checkpoint=found.checkpoint, version=version, files=files, revoked=revoked)


def _version_of(source: Source, found: Revision) -> TeacherVersion:
    entry = found.entry
    if entry is None and source.alone is None:
        entry = _last_promotion(PromotionLog(source.url), found.checkpoint)
    if entry is not None and entry.is_promotion:
        return entry.teacher
    epoch, step = (*info_of(source, found).order, 0, 0)[:2]
    return TeacherVersion(_NEVER_PROMOTED, epoch, step)


def _last_promotion(log: PromotionLog, checkpoint: str) -> PromotionEntry | None:
    return next((e for e in reversed(log.entries()) if e.is_promotion and e.checkpoint == checkpoint), None)
