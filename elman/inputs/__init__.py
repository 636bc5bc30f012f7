"""Inputs: the kinds of data that a model reads, each in one file."""
