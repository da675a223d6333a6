"""Distributions of the target: mixtures over draws, samples, moments, and what recalibration makes of them."""
