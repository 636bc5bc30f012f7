"""A column of records to vectors (B, T, D): one file for each kind of data."""
