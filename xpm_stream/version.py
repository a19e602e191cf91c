"""The release. Apart from the package itself, so that any row may ask without importing what `load` needs."""

__version__ = "0.1.0"
