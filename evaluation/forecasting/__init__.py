"""Forecasts of four real series against baselines and peers."""
