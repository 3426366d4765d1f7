"""What an accepted program costs, in instructions: `meter` measures, `counting` is the process that counts."""

from .meter import HARDWARE_INSTRUCTIONS, TIERS, Cost, CostError, Meter

__all__ = ["HARDWARE_INSTRUCTIONS", "TIERS", "Cost", "CostError", "Meter"]
