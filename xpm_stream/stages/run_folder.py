"""Where a run keeps its things. One place for the names, so that every role and every command agrees."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xpm_stream.config import RunConfig
from xpm_stream.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The layout of a run folder."""

    root: Path

    @classmethod
    def of(cls, config: RunConfig) -> RunFolder:
        """Return the folder of a run: `config.folder`, or `runs/<name>` below the current folder."""
        return cls(Path(config.folder or Path("runs") / config.name).absolute())

    def create(self) -> None:
        """Make the folder, with its parents.

        Raises:
            ConfigError: it cannot be made, or is a file.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the run folder {self.root}: {error.strerror or error}; set folder to another place"
            ) from error

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder, and let no second `up` work in it meanwhile; the system lets go however this one ends.

        Raises:
            ConfigError: the folder cannot be made, or another `up` is at work in it.
        """
        self.create()
        with (self.root / "up.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another `xpm-stream up` is at work in {self.root}: wait for it or end it, or set folder to "
                    "another place"
                ) from error
            yield

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def corpus(self) -> Path:
        """Caption shards and base sets that the run itself prepared."""
        return self.root / "corpus"

    @property
    def teacher(self) -> Path:
        """Resume checkpoints of teacher training."""
        return self.root / "teacher"

    @property
    def pretraining(self) -> Path:
        """Checkpoints of caption pretraining; the finished one is what `teacher.init: pretraining` starts from."""
        return self.root / "pretraining"

    @property
    def logs(self) -> Path:
        """One JSON-lines file for each role."""
        return self.root / "logs"

    @property
    def pictures(self) -> Path:
        """Pictures for people."""
        return self.root / "pictures"

    @property
    def evaluations(self) -> Path:
        """One JSON file for each evaluated checkpoint."""
        return self.root / "evaluations"

    @property
    def summary(self) -> Path:
        """What came out."""
        return self.root / "summary.json"

    def registry_url(self, config: RunConfig) -> str:
        """Return where checkpoints and the promotion log live."""
        return config.registry.url or str(self.root / "registry")
