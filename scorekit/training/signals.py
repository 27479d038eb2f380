"""SIGTERM and Ctrl-C as a request to stop: the first is kept for the loop to act on, the second does what it always
did.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[list[str]]:
    """Within the context, the first SIGINT or SIGTERM calls `stop` and puts the handlers from before back; so does
    leaving.

    In a thread other than the main one signals are left alone, since only the main thread may handle them.

    Args:
        stop: what to call; it should only set a flag.

    Yields:
        A list that receives the name of the signal.
    """
    received: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        put_back()
        stop()

    def put_back() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, on_signal) for each in _STOPPING}
    try:
        yield received
    finally:
        put_back()
