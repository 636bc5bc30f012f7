"""The version of Elman, which model folders name."""

__version__ = "0.1.0"
