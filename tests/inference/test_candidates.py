"""What a trainer proposes is a whole folder: it loads and predicts its own words where no text encoder is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from small_models import WriteModel  # type: ignore[import-not-found]

import xpm_stream
from xpm_stream.label_queue import TrainedLedger
from xpm_stream.networks.encoder_files import locate_encoder
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.network_files import checkpoint_config
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.student import Student

FILES = {
    "README.md",
    "class_embeddings.safetensors",
    "classes.json",
    "config.json",
    "manifest.json",
    "metrics.json",
    "model.safetensors",
    "vocabulary.json",
}


def test_a_students_candidate_has_every_file_and_needs_no_encoder(
    write_model: WriteModel, photo: Path, tmp_path: Path
) -> None:
    encoder = tmp_path / "encoder"
    encoder.symlink_to(locate_encoder("minilm").folder)
    text = {"encoder": str(encoder), "cache": str(tmp_path / "embeddings")}
    # As a teacher of before its embeddings were kept.
    registry = write_model(tmp_path / "registry", name="teacher-e0-s5", text=text, carried=False)
    store = CheckpointStore(registry / "checkpoints")
    files = store.read("teacher-e0-s5")
    config = checkpoint_config(files, name="teacher-e0-s5")
    student = Student(config, files=files, name="teacher-e0-s5", ranks=Ranks())
    student.method.note_words([["zebra"]])
    proposed = student.candidate_files("student-e1-s1", ledger=TrainedLedger(), promotions=PromotionLog(registry))
    store.write("student-e1-s1", proposed, order=(1, 1))
    assert "class_embeddings.safetensors" not in student.resume_files(TrainedLedger())
    encoder.unlink()

    model = xpm_stream.load(registry, "student-e1-s1", device="cpu", cache=tmp_path / "cache")

    assert {file.name for file in model.folder.iterdir()} == FILES
    assert model.words == ["dog", "car", "cup", "umbrella", "kite", "zebra"]
    assert json.loads((model.folder / "metrics.json").read_text())["words"] == {"base": 3, "captions": 3}
    assert "| captions | 3 |" in (model.folder / "README.md").read_text()
    found = model.predict(photo, ["zebra", "dog"])
    assert len(found) > 0
    assert np.isfinite(found.scores).all()
