"""The heart: recurrences, one file each, with their equations and their paper on top.

All keep one contract, `y, state = core(x, state=None, lengths=None)`, and one law: for a causal
core with dropout off, a sequence in parts with the state carried over equals the whole.
`linear_recurrence` is the function that recurrences without nonlinearity are made of.
"""

from elman.recur.gru import GRU
from elman.recur.grud import GRUD
from elman.recur.lstm import LSTM
from elman.recur.rnn import RNN
from elman.recur.scan import linear_recurrence

__all__ = ["GRU", "GRUD", "LSTM", "RNN", "linear_recurrence"]
