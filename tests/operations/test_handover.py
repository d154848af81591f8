"""How soon threads hand over the interpreter."""

import sys
import threading
import time

from operations.handover import SOON, computing

USUAL = 0.005  # seconds: CPython's


def test_a_thread_that_computes_hands_over_sooner_than_by_default() -> None:
    over, turns = False, 0

    def compute() -> None:
        nonlocal turns
        with computing:
            while not over:
                turns += 1

    thread = threading.Thread(target=compute)
    thread.start()
    waits: list[float] = []
    # By default none is as short; a busy machine makes nearly all of them longer.
    while len(waits) < 300 and min(waits, default=USUAL) >= USUAL:
        before, began = turns, time.perf_counter()
        time.sleep(0)  # lets go of the interpreter, and asks for it again
        took = time.perf_counter() - began
        if turns > before:  # it had gone to the other one
            waits.append(took)
    over = True
    thread.join()
    assert min(waits) < USUAL


def test_it_is_as_before_once_the_last_of_those_that_compute_has_ended() -> None:
    before = sys.getswitchinterval()
    seen: list[float] = []
    with computing:
        with computing:
            seen.append(sys.getswitchinterval())
        seen.append(sys.getswitchinterval())
    assert seen == [SOON, SOON]
    assert sys.getswitchinterval() == before


def test_who_had_it_still_shorter_keeps_that() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SOON / 2)
    try:
        with computing:
            assert sys.getswitchinterval() == SOON / 2
    finally:
        sys.setswitchinterval(before)
