"""Faults on purpose: kills, flipped bits, broken inputs, extremes and floods, and what became of each."""
