"""How a run went and how good the model is: journal, progress, baselines, the report page."""
