"""From scores to sequences: pure functions over `step(tokens, state)`."""
