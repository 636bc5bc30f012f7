"""Journal, progress display, scores, baselines and the report page of a run."""
