"""One corpus and one thread for golden runs; each arm is run once, and once again where a test asks for that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
import torch
from golden_run import GoldenRun, run_arm, write_golden_corpus  # type: ignore[import-not-found]

from xpm_stream.data.synthetic import CorpusPaths


@pytest.fixture(scope="session")
def golden_corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    return write_golden_corpus(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="session")
def first_run(golden_corpus: CorpusPaths) -> Callable[[str], GoldenRun]:
    """The run of an arm, made when it is first asked for."""
    return functools.cache(functools.partial(run_arm, corpus=golden_corpus))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums that threads share round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
