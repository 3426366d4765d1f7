"""What an accepted program costs, in instructions: `meter` measures, `counting` is the process that counts."""

from .meter import Meter
from .process import TIERS, Cost, CostError

__all__ = ["TIERS", "Cost", "CostError", "Meter"]
