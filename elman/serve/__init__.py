"""Live use of a model: one element at a time, in constant memory."""
