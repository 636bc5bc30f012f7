"""Endpoints: where an utterance in a stream of speech ends.

An utterance ends at the first step at which one of three rules holds:

    silence    there is no token, and `silence` seconds have passed
    pause      there is a token, and `pause` seconds have passed since the last one
    longest    `longest` seconds have passed
"""

from __future__ import annotations

from dataclasses import dataclass

from elman.arguments import check_number
from elman.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The rules for the end of an utterance, in seconds.

    Attributes:
        silence: time without any token.
        pause: time after the last token.
        longest: duration of an utterance.

    Raises:
        ArgumentError: a time is not positive.

    Example:
        >>> from elman.decode.endpoints import Endpoints
        >>> rules = Endpoints(pause=0.5)
        >>> rules.reached(seconds=2.0, since=0.4), rules.reached(seconds=2.0, since=0.5)
        (False, True)
    """

    silence: float = 2.4
    pause: float = 1.2
    longest: float = 20.0

    def __post_init__(self) -> None:
        for name in ("silence", "pause", "longest"):
            check_number(getattr(self, name), name)
            if not getattr(self, name) > 0:
                raise ArgumentError(f"{name} must be a positive time, got {getattr(self, name)}")

    def reached(self, seconds: float, since: float | None) -> bool:
        """Return whether an utterance ends.

        Args:
            seconds: time since its beginning.
            since: time since its last token; None if there is none.
        """
        if seconds >= self.longest:
            return True
        return seconds >= self.silence if since is None else since >= self.pause
