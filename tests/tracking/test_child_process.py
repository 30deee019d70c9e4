"""Calls to a child process are performed in order, even if the process is killed between them."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from gradclip.tracking.child_process import ChildProcess


@pytest.fixture
def replacements() -> list[bool]:
    return []


@pytest.fixture
def child(replacements: list[bool]) -> ChildProcess:
    def start(is_replacement: bool) -> ProcessPoolExecutor:
        replacements.append(is_replacement)
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))

    return ChildProcess(start)


def test_a_replacement_process_performs_the_remaining_calls_in_order(
    child: ChildProcess, replacements: list[bool]
) -> None:
    killed = child.submit(os.getpid).result()
    calls = [child.submit(time.sleep, 0.3), *(child.submit(os.getpid) for _ in range(3)), child.submit(time.time)]
    os.kill(killed, signal.SIGKILL)
    later = child.submit(time.time)
    assert calls[0].result(30) is None
    assert len({call.result(30) for call in calls[1:4]} - {killed}) == 1
    assert calls[4].result(30) < later.result(30)
    assert replacements == [False, True]


def test_a_process_killed_between_two_calls_is_replaced(child: ChildProcess) -> None:
    killed = child.submit(os.getpid).result()
    os.kill(killed, signal.SIGKILL)
    assert child.submit(os.getpid).result(30) != killed


def test_a_call_that_kills_its_process_fails_and_later_calls_are_performed(
    child: ChildProcess, replacements: list[bool]
) -> None:
    with pytest.raises(BrokenProcessPool):
        child.submit(os._exit, 1).result(30)
    assert child.submit(sum, (1, 2)).result(30) == 3
    assert replacements[:3] == [False, True, True]


def test_an_exception_affects_only_its_own_call(child: ChildProcess) -> None:
    with pytest.raises(ZeroDivisionError):
        child.submit(divmod, 1, 0).result(30)
    assert child.submit(sum, (1, 2)).result(30) == 3


def test_calls_fail_if_no_process_can_be_started() -> None:
    pools = [ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))]

    def start(_: bool) -> ProcessPoolExecutor:
        if not pools:
            raise OSError("too little memory")
        return pools.pop()

    child = ChildProcess(start)
    with pytest.raises(BrokenProcessPool):
        child.submit(os._exit, 1).result(30)
