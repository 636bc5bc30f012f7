"""Recurrent layers, one file each; every file begins with the equations and their source.

All layers share one contract, `y, state = core(x, state=None, lengths=None)`.  For a causal layer
with dropout off, running a sequence in parts and carrying the state over gives the same result as
running it whole.  `linear_recurrence` is the building block of recurrences without nonlinearity.
"""

from elman.recur.cfc import CfC
from elman.recur.gru import GRU
from elman.recur.grud import GRUD
from elman.recur.gruwe import GRUwE
from elman.recur.lem import LEM
from elman.recur.lstm import LSTM
from elman.recur.mingru import MinGRU
from elman.recur.minlstm import MinLSTM
from elman.recur.rnn import RNN
from elman.recur.scan import linear_recurrence
from elman.recur.slstm import SLSTM

__all__ = [
    "GRU",
    "GRUD",
    "LEM",
    "LSTM",
    "RNN",
    "SLSTM",
    "CfC",
    "GRUwE",
    "MinGRU",
    "MinLSTM",
    "linear_recurrence",
]
