"""Data in: regular time series, and text as streams of tokens."""

from bayesrnn.data.readers import mauna_loa_co2 as mauna_loa_co2
from bayesrnn.data.readers import read_series as read_series
from bayesrnn.data.series import Series as Series
from bayesrnn.data.text import Corpus as Corpus
from bayesrnn.data.text import fold_stream as fold_stream
from bayesrnn.data.text import part_files as part_files
from bayesrnn.data.text import read_corpus as read_corpus
from bayesrnn.data.text import read_text as read_text
from bayesrnn.data.text import tokenize as tokenize
from bayesrnn.data.vocabulary import Vocabulary as Vocabulary

__all__ = [
    "Corpus",
    "Series",
    "Vocabulary",
    "fold_stream",
    "mauna_loa_co2",
    "part_files",
    "read_corpus",
    "read_series",
    "read_text",
    "tokenize",
]
