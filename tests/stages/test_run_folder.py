"""The run folder: one `up` at a time, and a clear word where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpm_stream.config import RunConfig
from xpm_stream.errors import ConfigError
from xpm_stream.stages.run_folder import RunFolder


def test_it_is_named_by_the_configuration_or_by_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunFolder.of(RunConfig(name="a")).root == tmp_path / "runs" / "a"
    assert RunFolder.of(RunConfig(folder="b/c")).root == tmp_path / "b" / "c"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"cannot make the run folder {tmp_path / place}.*another place"):
        RunFolder(tmp_path / place).create()


def test_a_second_up_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with (
        folder.claimed(),
        pytest.raises(ConfigError, match="another `xpm-stream up` is at work"),
        RunFolder(tmp_path / "run").claimed(),
    ):
        pass
    with folder.claimed():
        assert folder.root.is_dir()
