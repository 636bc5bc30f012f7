"""Forecasting of series: training, prediction, scores and live sessions."""
