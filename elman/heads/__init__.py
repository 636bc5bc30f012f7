"""Heads turn states into scores, and return the loss as a sum and a count."""

from elman.heads.forecasts import ForecastHead
from elman.heads.labels import LabelHead
from elman.heads.tags import TagHead
from elman.heads.tokens import TokenHead
from elman.heads.values import ValueHead

__all__ = ["ForecastHead", "LabelHead", "TagHead", "TokenHead", "ValueHead"]
