"""Training by back-propagation through time: the loop, chunks, optimisers and checkpoints."""
