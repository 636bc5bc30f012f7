"""States to scores, and the loss as a sum and a count."""

from elman.heads.tokens import TokenHead
from elman.heads.values import ValueHead

__all__ = ["TokenHead", "ValueHead"]
