"""How large a quality bench is: corpus, network, steps, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from xpm_stream.config import RunConfig, load_config
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.stages.preparation import synthetic_config, synthetic_data

CONFIG: Final = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One size of the bench. A trial of one arm and seed runs on one thread."""

    name: str
    seeds: tuple[int, ...]
    teacher_steps: int
    round_steps: int  # of a student that learns from one teacher
    corpus: Mapping[str, Any] = field(default_factory=dict)  # settings of the quickstart preset to change
    sets: tuple[str, ...] = ()  # further overrides of configs/quickstart.yaml
    groups: tuple[str, ...] | None = None  # groups of arms to run; none: all

    def config(self, corpus: CorpusPaths, *, folder: Path, seed: int, sets: tuple[str, ...]) -> RunConfig:
        """The configuration of one trial."""
        overrides = [
            f"folder={folder}",
            f"seed={seed}",
            f"teacher.steps={self.teacher_steps}",
            "teacher.threads=1",
            "trainer.threads=1",
            "evaluation.threads=1",
            "metrics.enabled=false",
            f"trainer.schedule_steps={self.round_steps}",
            *self.sets,
            *sets,
        ]
        config = load_config(CONFIG, overrides=overrides)
        return config.model_copy(update={"data": synthetic_data(config.data, corpus)})

    def write_corpus(self, folder: Path, *, seed: int, settings: Mapping[str, Any], workers: int) -> CorpusPaths:
        """Draw the corpus of one seed, or find it drawn."""
        section = load_config(CONFIG).prepare.synthetic
        assert section is not None
        asked = section.model_copy(update={"settings": {**self.corpus, **settings}})
        return write_corpus(folder, preset=synthetic_config(asked), seed=seed, workers=workers)


SHORT: Final = Form(
    name="short",
    seeds=(0,),
    teacher_steps=200,
    round_steps=75,
    corpus={"val_images": 300, "caption_images": 1200},
    groups=("core",),
)
LONG: Final = Form(name="long", seeds=(0, 1, 2), teacher_steps=300, round_steps=150, corpus={"val_images": 600})
FORMS: Final = {form.name: form for form in (SHORT, LONG)}
