"""Turn scores into sequences, with pure functions over `step(tokens, state)`."""
