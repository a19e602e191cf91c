"""OVR (Zareian et al., CVPR 2021): caption pretraining, then base training; no pseudo labels."""

from __future__ import annotations

from xpm_stream.errors import ConfigError
from xpm_stream.methods.without_labels import WithoutLabels


class Ovr(WithoutLabels):
    """What is new is where training starts, so it insists on that; the stages do the rest."""

    def load_starting_weights(self) -> None:
        """Load the weights that caption pretraining starts from.

        Raises:
            ConfigError: base training would start without captions; or the weights cannot be had.
        """
        if self._config.teacher.init == "scratch" and not self._config.teacher.grounding_weight:
            raise ConfigError(
                "method 'ovr' is caption pretraining before base training: set teacher.init: pretraining and run "
                "`xpm-stream pretrain` first, or set teacher.grounding_weight above 0 to learn from captions beside"
            )
        super().load_starting_weights()
