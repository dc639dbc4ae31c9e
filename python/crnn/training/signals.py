"""Ctrl-C and SIGTERM between two steps instead of inside one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


def leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; workers draw on until the trainer ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # how the trainer ends a worker that hangs


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that fills with the first SIGINT or SIGTERM; the second acts as it used to.

    An exception thrown into the middle of an update would leave weights and optimizer of
    different steps, so the signal only asks. Outside the main thread signals stay as they are.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    for number in usual:
        signal.signal(number, note)
    try:
        yield received
    finally:
        restore()
