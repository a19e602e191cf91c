"""The parts of the seams that no method uses yet (docs/architecture.md, "Seams")."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.config.network_sections import ModelConfig
from xpm_stream.engines import ENGINES, build_engine
from xpm_stream.engines.base import DetectionEngine
from xpm_stream.label_queue import RelabelWork
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.records import (
    Finding,
    ImageInline,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)
from xpm_stream.stages.prepared_samples import SamplePreparer, Usable

DOG = PseudoInstance(word="dog", box_xyxy=(1, 2, 30, 40), mask_bits=bytes(98), score=0.5, reliability=0.25)
CAT = PseudoInstance(word="cat", box_xyxy=(1, 2, 30, 40), mask_bits=bytes(98), score=0.75)


def message() -> LabelMessage:
    picture = io.BytesIO()
    Image.new("RGB", (48, 64)).save(picture, "PNG")
    return LabelMessage(
        method="xpm",
        sample=SampleId(0, ShardId("a"), 3),
        teacher=TeacherVersion(1, 0, 0),
        image=ImageInline(picture.getvalue()),
        image_size_wh=(48, 64),
        words=["dog", "cat"],
        annotation=InstanceAnnotation(instances=[DOG, CAT]),
        labelled_at_s=1.0,
    )


def test_a_sample_that_is_labelled_again_brings_its_earlier_annotation_to_the_method() -> None:
    old = message()
    work = RelabelWork(sample=old.sample, shard=None, message=old, relabels=1, reason="stale")
    usable = SamplePreparer(DataConfig(), metrics=Metrics("labeler").labeler).prepare_again(work)
    assert isinstance(usable, Usable)
    assert usable.previous == old.annotation
    assert (usable.words, usable.payload) == (old.words, old.image)


def test_findings_are_all_that_counting_needs() -> None:
    annotation = message().annotation
    share, box = (29 * 38) / (48 * 64), (1, 2, 30, 40)
    assert annotation.findings((48, 64)) == [
        Finding(word="dog", score=0.5, reliability=0.25, area_share=share, box_xyxy=box),
        Finding(word="cat", score=0.75, reliability=None, area_share=share, box_xyxy=box),
    ]
    assert message().findings() == annotation.findings((48, 64))
    half = annotation.findings((30, 40))[0]
    assert half.area_share == 1102 / 1200, "what lies outside the image is not counted"
    assert annotation.findings((10, 20))[0].area_share == (9 * 18) / 200
    assert list(annotation.partner_images()) == []


def test_every_engine_of_the_table_is_a_choice_of_the_configuration_and_has_what_methods_use() -> None:
    choices = ModelConfig.model_json_schema()["properties"]["engine"]
    assert set(ENGINES) == set(choices.get("enum", [choices.get("const")]))
    engine = build_engine(ModelConfig(backbone="small"), text_dimension=8)
    members = {name for name in vars(DetectionEngine) if not name.startswith("_")}
    assert members <= set(dir(engine))


@pytest.mark.parametrize("unknown", ["detectron", "torchvison"])
def test_an_unknown_engine_is_refused_with_the_choices(unknown: str) -> None:
    with pytest.raises(ValueError, match="torchvision"):
        ModelConfig.model_validate({"engine": unknown})
