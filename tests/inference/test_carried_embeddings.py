"""A checkpoint carries the embeddings of its words: where its text encoder is missing, these can still be asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from small_models import WriteModel  # type: ignore[import-not-found]

import xpm_stream
from xpm_stream.errors import CheckpointError, TextError
from xpm_stream.networks.carried_embeddings import CarriedEmbeddings
from xpm_stream.networks.encoder_files import locate_encoder
from xpm_stream.stages.network_files import EMBEDDINGS
from xpm_stream.stages.predicting import Predictor

OWN = ["dog", "umbrella"]  # a base class and a caption's word


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A folder with the small encoder, to be taken away."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in locate_encoder("minilm").folder.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def take_away(encoder: Path) -> None:
    encoder.rename(encoder.with_name("elsewhere"))


def test_its_own_words_are_found_as_with_the_encoder(
    write_model: WriteModel, encoder: Path, photo: Path, tmp_path: Path
) -> None:
    text = {"encoder": str(encoder), "cache": str(tmp_path / "cache")}
    registry = write_model(tmp_path / "with", text=text)
    without = write_model(tmp_path / "without", text=text, carried=False)
    computed = xpm_stream.load(without, device="cpu", cache=tmp_path / "b").predict(photo, OWN)
    take_away(encoder)

    model = xpm_stream.load(registry, device="cpu", cache=tmp_path / "a")
    carried = model.predict(photo, OWN)

    assert model.words == ["dog", "car", "cup", "umbrella", "kite"]
    assert len(carried) > 0
    assert np.array_equal(carried.scores, computed.scores)
    assert carried.rles == computed.rles
    with pytest.raises(TextError) as refused:
        model.predict(photo, ["dog", "zebra"])
    said = str(refused.value)
    assert "checkpoint student-e1-s8 carries no embedding of 'zebra', and its text encoder is not here" in said
    assert str(encoder) in said
    assert "Its own 5 words (model.words) need no encoder" in said
    ours, theirs = model.predict(photo, ["Dog", "UMBRELLA"]), model.predict(photo, ["dog", "umbrella"])
    assert set(ours.words) == {"Dog", "UMBRELLA"}
    assert np.array_equal(ours.scores, theirs.scores)


def test_a_checkpoint_of_before_that_carries_none_needs_its_encoder(
    write_model: WriteModel, encoder: Path, tmp_path: Path
) -> None:
    text = {"encoder": str(encoder), "cache": str(tmp_path / "cache")}
    registry = write_model(tmp_path / "registry", text=text, carried=False)
    take_away(encoder)
    with pytest.raises(TextError, match="encoder"):
        xpm_stream.load(registry, device="cpu", cache=tmp_path / "pulled")


def test_another_encoder_of_the_same_name_is_not_mixed_in(
    write_model: WriteModel, encoder: Path, photo: Path, tmp_path: Path
) -> None:
    text = {"encoder": str(encoder), "cache": str(tmp_path / "cache")}
    registry = write_model(tmp_path / "registry", text=text)
    changed = json.loads((encoder / "config.json").read_text()) | {"initializer_range": 0.5}
    (encoder / "config.json").unlink()
    (encoder / "config.json").write_text(json.dumps(changed))

    model = xpm_stream.load(registry, device="cpu", cache=tmp_path / "pulled")

    assert len(model.predict(photo, OWN)) > 0
    with pytest.raises(TextError, match="here is not the one it learned with"):
        model.predict(photo, ["zebra"])


def test_other_words_are_embedded_by_the_encoder_where_it_is(model: Predictor, registry: Path, photo: Path) -> None:
    carried = CarriedEmbeddings.decode((model.folder / EMBEDDINGS).read_bytes(), source="file")
    assert carried.words == ["dog", "car", "cup", "umbrella", "kite"]
    assert (carried.encoder, carried.pooling) == ("minilm", "input_embeddings")
    assert set(model.predict(photo, ["zebra", "dog"]).words) == {"zebra", "dog"}


@pytest.mark.parametrize("damage", ["cut", "no words", "too few words", "not a tensor", "no header"])
def test_damaged_embeddings_are_refused(model: Predictor, damage: str) -> None:
    data = (model.folder / EMBEDDINGS).read_bytes()
    rows = torch.zeros(2, 3)
    facts = {"encoder": "e", "pooling": "p", "fingerprint": "f"}
    damaged = {
        "cut": data[: len(data) // 2],
        "no words": safetensors.torch.save({"embeddings": rows}, metadata=facts),
        "too few words": safetensors.torch.save({"embeddings": rows}, metadata=facts | {"words": '["a"]'}),
        "not a tensor": safetensors.torch.save({"other": rows}, metadata=facts | {"words": '["a", "b"]'}),
        "no header": safetensors.torch.save({"embeddings": rows}),
    }[damage]
    with pytest.raises(CheckpointError, match="file cannot be read"):
        CarriedEmbeddings.decode(damaged, source="file")
