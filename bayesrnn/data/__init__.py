"""Data in: regular time series, and text as streams of tokens."""

from bayesrnn.data.readers import mauna_loa_co2 as mauna_loa_co2
from bayesrnn.data.readers import read_series as read_series
from bayesrnn.data.series import Series as Series

__all__ = ["Series", "mauna_loa_co2", "read_series"]
