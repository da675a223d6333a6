"""Layers with masks: drop-in for torch.nn's recurrent, embedding and dropout layers."""

from bayesrnn.nn.concrete import ConcreteDropout as ConcreteDropout
from bayesrnn.nn.dropout import Dropout as Dropout
from bayesrnn.nn.embedding import Embedding as Embedding
from bayesrnn.nn.foreign import from_fastai as from_fastai
from bayesrnn.nn.foreign import from_flax as from_flax
from bayesrnn.nn.foreign import from_keras as from_keras
from bayesrnn.nn.kernels.scan.library import use_compiled as use_compiled
from bayesrnn.nn.layers import GRU as GRU
from bayesrnn.nn.layers import LSTM as LSTM
from bayesrnn.nn.layers import RNN as RNN
from bayesrnn.nn.layers import CappedLSTM as CappedLSTM
from bayesrnn.nn.masked import MaskedModule as MaskedModule
from bayesrnn.nn.one_sequence import sequence as sequence
from bayesrnn.nn.steps import GRUCell as GRUCell
from bayesrnn.nn.steps import LSTMCell as LSTMCell
from bayesrnn.nn.steps import RNNCell as RNNCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CappedLSTM",
    "ConcreteDropout",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "MaskedModule",
    "RNNCell",
    "from_fastai",
    "from_flax",
    "from_keras",
    "sequence",
    "use_compiled",
]
