from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from queue_examples import opened
from redis_servers import installed_servers, missing_servers

from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.label_queue import EmbeddedServer, LabelQueue, start_or_join

SERVERS = installed_servers()


@pytest.fixture(
    scope="session",
    params=[*SERVERS, *(pytest.param(name, marks=pytest.mark.skip(why)) for name, why in missing_servers().items())],
)
def redis_binary(request: pytest.FixtureRequest) -> Path:
    """Each redis-server there is: the suite below is one contract for all of them."""
    return SERVERS[request.param]


@pytest.fixture(scope="session")
def server(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("run")
    with start_or_join(RedisConfig(), run_folder=folder, binary=redis_binary) as started:
        yield started


@pytest.fixture
def namespace() -> str:
    return f"t{uuid4().hex[:10]}"


@pytest.fixture
def open_queue(server: EmbeddedServer, namespace: str) -> Iterator[Callable[..., LabelQueue]]:
    """Opens another process's view of the same queue."""
    queues = []

    def another(**settings: object) -> LabelQueue:
        queues.append(opened(server.url, namespace, **settings))
        return queues[-1]

    yield another
    for queue in queues:
        queue.close()


@pytest.fixture
def queue(open_queue: Callable[..., LabelQueue]) -> LabelQueue:
    return open_queue()
