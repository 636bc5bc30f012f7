"""Back-propagation through time: the loop, its chunks, optimisers and checkpoints."""
