"""Configuration: a typed schema, YAML files with `key=value` overrides, the resolved copy saved with each run."""

from xpm_stream.config.loading import config_of_run, load_config, save_resolved
from xpm_stream.config.schema import RunConfig

__all__ = ["RunConfig", "config_of_run", "load_config", "save_resolved"]
