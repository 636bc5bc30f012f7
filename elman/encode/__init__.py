"""Encode a column of records as vectors (B, T, D): one file for each kind of data."""
