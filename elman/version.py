"""The version of Elman, which is also written to every model folder."""

__version__ = "0.1.0"
