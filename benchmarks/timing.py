"""Interleaved timing: all contestants in turn, again and again; what else the machine does then hits all alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def medians(contestants: Mapping[str, Callable[[], Any]], *, seconds: float, rounds: int = 200) -> dict[str, float]:
    """Median seconds per call of each, over at least 5 rounds and until the time or the rounds are used up.

    One of which two calls each take longer than all of that time is not called again. One that takes longer than four
    times the median of all has its 5 rounds, so that there is time for many of the others.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for name, call in contestants.items():
        if torch.cuda.is_available():
            call()  # kernels are compiled
        if _seconds_of(call) > seconds and (again := _seconds_of(call)) > seconds:  # the first may import modules
            times[name].append(again)
    contestants = {name: call for name, call in contestants.items() if not times[name]}
    gc.collect()
    begin = 0.0
    for done in range(rounds):
        for name, call in contestants.items():
            call()  # whatever the one before left behind, in caches and in the allocator, is not this one's
            _finish()
            times[name].append(_seconds_of(call))
        if done == 4:
            usual = {name: statistics.median(times[name]) for name in contestants}
            longest = 4 * statistics.median(usual.values()) if usual else 0.0
            contestants = {name: call for name, call in contestants.items() if usual[name] <= longest}
            begin = time.perf_counter()
        if done >= 4 and time.perf_counter() - begin > seconds:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def _seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    _finish()
    return time.perf_counter() - start


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
