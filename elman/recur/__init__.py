"""Recurrent layers, one file each; every file begins with the equations and their source.

All layers share one contract, `y, state = core(x, state=None, lengths=None)`.  For a causal layer
with dropout off, running a sequence in parts and carrying the state over gives the same result as
running it whole.  `linear_recurrence` and `matrix_recurrence` are the building blocks of
recurrences without nonlinearity, whose state is a vector or a matrix.
"""

from elman.recur.cfc import CfC
from elman.recur.deltanet import DeltaNet, GatedDeltaNet
from elman.recur.gla import GLA
from elman.recur.gru import GRU
from elman.recur.grud import GRUD
from elman.recur.gruwe import GRUwE
from elman.recur.lem import LEM
from elman.recur.lru import LRU
from elman.recur.lstm import LSTM
from elman.recur.mamba2 import Mamba2
from elman.recur.matrix import matrix_recurrence
from elman.recur.mingru import MinGRU
from elman.recur.minlstm import MinLSTM
from elman.recur.mlstm import MLSTM
from elman.recur.rglru import RGLRU
from elman.recur.rnn import RNN
from elman.recur.scan import linear_recurrence
from elman.recur.slstm import SLSTM

__all__ = [
    "GLA",
    "GRU",
    "GRUD",
    "LEM",
    "LRU",
    "LSTM",
    "MLSTM",
    "RGLRU",
    "RNN",
    "SLSTM",
    "CfC",
    "DeltaNet",
    "GRUwE",
    "GatedDeltaNet",
    "Mamba2",
    "MinGRU",
    "MinLSTM",
    "linear_recurrence",
    "matrix_recurrence",
]
