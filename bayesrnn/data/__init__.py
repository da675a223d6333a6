"""Data in: regular time series, and text as streams of tokens. What needs pandas is imported when it is used."""

from typing import TYPE_CHECKING, Any

from bayesrnn.data.text import Corpus, fold_stream, part_files, read_corpus, read_text, tokenize
from bayesrnn.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from bayesrnn.data.readers import mauna_loa_co2, read_series
    from bayesrnn.data.series import Series

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bayesrnn.data import readers

    return getattr(readers, name)
