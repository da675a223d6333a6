"""Layers with masks: drop-in for torch.nn's recurrent, embedding and dropout layers."""

from bayesrnn.nn.dropout import Dropout as Dropout
from bayesrnn.nn.embedding import Embedding as Embedding
from bayesrnn.nn.masked import MaskedModule as MaskedModule
from bayesrnn.nn.recurrent import GRU as GRU
from bayesrnn.nn.recurrent import LSTM as LSTM
from bayesrnn.nn.recurrent import RNN as RNN

__all__ = ["GRU", "LSTM", "RNN", "Dropout", "Embedding", "MaskedModule"]
