"""A small regression network with masks."""

from torch import nn

import bayesrnn as br
from bayesrnn import likelihoods


class Net(nn.Module):
    """A forecaster with BatchNorm and a scheme."""

    def __init__(self, dropout=0.3, batch_first=True, norm=True):
        super().__init__()
        self.recurrent = br.nn.LSTM(3, 5, dropout=dropout, batch_first=batch_first)
        self.norm = nn.BatchNorm1d(5) if norm else nn.Identity()
        self.readout = nn.Linear(5, 2)
        self.batch_first = batch_first

    def forward(self, x, lengths=None):
        _, state = self.recurrent(x, lengths=lengths)
        last = state[0][-1]
        return likelihoods.gaussian(self.readout(self.norm(last)))
