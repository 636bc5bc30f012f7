"""Targets: what a model predicts, each kind in one file."""
