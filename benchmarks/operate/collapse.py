"""A teacher that has collapsed: the newest candidate, with what it knows of words mixed up."""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from xpm_stream.config import RunConfig
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import Candidate, PromotionLog
from xpm_stream.stages.run_folder import RunFolder

_WEIGHTS = "model.safetensors"
_KNOWS_WORDS = "embedding_head."
_NAMED = "collapsed-"


def propose_collapsed(config: RunConfig, *, seed: int) -> Candidate:
    """Propose the newest real candidate with the outputs of each layer of its embedding head exchanged at random."""
    url = RunFolder.of(config).registry_url(config)
    log, checkpoints = PromotionLog(url), CheckpointStore(f"{url}/checkpoints")
    newest = next(one for one in reversed(log.candidates()) if not one.checkpoint.startswith(_NAMED))
    files = dict(checkpoints.read(newest.checkpoint))
    weights = safetensors.numpy.load(files[_WEIGHTS])
    rng = np.random.default_rng(seed)
    mixed = [name for name, value in weights.items() if name.startswith(_KNOWS_WORDS) and value.ndim]
    if not mixed:
        raise ValueError(f"{newest.checkpoint} has no weights of the embedding head ({_KNOWS_WORDS}*)")
    for name in mixed:
        weights[name] = np.ascontiguousarray(rng.permutation(weights[name], axis=0))
    files[_WEIGHTS] = safetensors.numpy.save(weights)
    name = f"{_NAMED}{seed}-{newest.checkpoint}"
    checkpoints.write(name, files, order=(newest.epoch, newest.step), metadata=newest.metadata)
    return log.propose(name, epoch=newest.epoch, step=newest.step, metadata=newest.metadata)
