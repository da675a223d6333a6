"""Forecasts of three real series against baselines and a deep peer."""
