"""Live sessions: elements arrive one at a time, and the state has a constant size.

Every session has the methods `push`, `finish`, `restart`, `state_bytes` and `restore`.
"""
