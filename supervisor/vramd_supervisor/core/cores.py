"""Which share of the CPU threads each generating worker gets. Pure.

Two workers that compute with more threads than there are cores stall each other in spin barriers (measured: 0.6
tokens/s instead of 114 each), so threads are a budget like bytes.
"""

from collections.abc import Mapping


def shares(usable: int, wanted: Mapping[int, int]) -> dict[int, int]:
    """Threads for each worker that generates now, by incarnation.

    Everybody gets one, the rest goes round until all have what they want or nothing is left. With more workers than
    cores each still gets one: a single thread has no barrier to spin at, the system shares the cores out.
    """
    given = dict.fromkeys(sorted(wanted), 1)
    left = usable - len(given)
    while left > 0 and (hungry := [worker for worker, threads in given.items() if threads < wanted[worker]]):
        for worker in hungry[:left]:
            given[worker] += 1
        left -= len(hungry[:left])
    return given
