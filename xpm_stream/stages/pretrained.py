"""Where teacher training starts: from what caption pretraining left, in this run folder or anywhere else."""

from __future__ import annotations

from typing import Final

from xpm_stream.errors import ConfigError
from xpm_stream.methods.base import Method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.network_files import load_network
from xpm_stream.stages.process import Role

FINISHED: Final = "finished"  # in a pretraining checkpoint's metadata


def load_starting_point(role: Role, method: Method) -> str:
    """Give a fresh method the weights that `teacher.init` names; return their name for people.

    Only weights are taken: the words and statistics of pretraining are not the teacher's.

    Raises:
        ConfigError: pretraining is not done, or `model.weights` cannot be had.
        CheckpointError: there is no such checkpoint, or it is of another architecture.
    """
    init = role.config.teacher.init
    if init == "scratch":
        method.load_starting_weights()
        return init
    if init == "pretraining":
        store = CheckpointStore(role.folder.pretraining)
        latest = store.latest()
        if latest is None or not latest.metadata.get(FINISHED):
            found = f"only {latest.name}, which is not finished" if latest is not None else "nothing"
            raise ConfigError(
                f"teacher.init is pretraining, but {role.folder.pretraining} holds {found}: "
                "run `xpm-stream pretrain` with this configuration first"
            )
        name = latest.name
    else:
        parent, _, name = init.rstrip("/").rpartition("/")
        store = CheckpointStore(parent or ".")
    state = method.state()
    load_network(method, store.read(name), name=name)
    method.load_state(state)
    return name
