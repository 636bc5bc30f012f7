"""Read files as records, in constant memory, and split them.  This folder does not import torch."""
