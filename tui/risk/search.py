"""Searches on whole numbers for where a monotone condition turns, from a guess that is usually off by a few units.

Pure; the cost that counts is the number of times the condition is asked.
"""

from __future__ import annotations

from collections.abc import Callable


def first_true(holds: Callable[[int], bool], low: int, high: int, guess: int | None = None) -> int | None:
    """The smallest n in [low, high] where `holds(n)`; None where it holds nowhere.

    `holds` must be monotone: once true it stays true as n grows. From `guess` the search gallops outwards in doubling
    steps, so a guess that is off by d costs about 2 log2(d) questions whatever the range.
    """
    if low > high:
        return None
    at = min(max(guess if guess is not None else (low + high) // 2, low), high)
    step = 1
    if holds(at):
        below = low - 1
        while at > low:
            probe = max(at - step, low)
            if not holds(probe):
                below = probe
                break
            at = probe
            step *= 2
        top = at
    else:
        below = at
        while True:
            if below >= high:
                return None
            probe = min(below + step, high)
            if holds(probe):
                top = probe
                break
            below = probe
            step *= 2
    while top - below > 1:
        middle = (top + below) // 2
        if holds(middle):
            top = middle
        else:
            below = middle
    return top


def last_true(holds: Callable[[int], bool], low: int, high: int, guess: int | None = None) -> int | None:
    """The largest n in [low, high] where `holds(n)`; None where it holds nowhere.

    `holds` must be monotone: once false it stays false as n grows.
    """
    if low > high:
        return None
    at = min(max(guess if guess is not None else (low + high) // 2, low), high)
    step = 1
    if holds(at):
        above = high + 1
        while at < high:
            probe = min(at + step, high)
            if not holds(probe):
                above = probe
                break
            at = probe
            step *= 2
        bottom = at
    else:
        above = at
        while True:
            if above <= low:
                return None
            probe = max(above - step, low)
            if holds(probe):
                bottom = probe
                break
            above = probe
            step *= 2
    while above - bottom > 1:
        middle = (above + bottom) // 2
        if holds(middle):
            bottom = middle
        else:
            above = middle
    return bottom
