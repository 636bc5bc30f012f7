"""Keep freed memory for the next step.

The large tensors of a step (scores over a vocabulary, their gradient) are freed and allocated
again in every step.  glibc returns such blocks to the system each time, and the page faults after
a new allocation cost about a quarter of a step of a small model on a CPU.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for this process; do nothing on other systems."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Older versions refuse thresholds above 32 MiB.
    if mallopt and (mallopt(M_MMAP_THRESHOLD, 1 << 30) or mallopt(M_MMAP_THRESHOLD, 1 << 25)):
        mallopt(M_TRIM_THRESHOLD, KEPT)
