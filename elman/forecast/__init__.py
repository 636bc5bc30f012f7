"""Forecasts of series: training, prediction, scores, live sessions; `tasks` adds the verbs."""
