"""A child process that performs calls in order and is replaced if it dies."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import count
from typing import Any

MAX_DEATHS = 2  # a call fails after this many deaths of its process, since it may have caused them


@dataclass(eq=False)
class _Task:
    """A call and its future result."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    result: "Future[Any]" = field(default_factory=Future)
    deaths: int = 0


class ChildProcess:
    """One process for all calls; if it dies, for instance out of memory, a new one performs the remaining calls.

    A call may have been performed before its process died, so repeating a call must do no harm.

    Args:
        start: starts a process; its argument says whether the process replaces one that died.
    """

    def __init__(self, start: Callable[[bool], ProcessPoolExecutor]) -> None:
        self._start, self._pool = start, start(False)
        self._lock, self._numbers = threading.RLock(), count()
        self._tasks: dict[int, _Task] = {}  # in order, until they are done
        self._dead: set[ProcessPoolExecutor] = set()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Submit a call, which is performed after all earlier ones.

        Returns:
            A future of its result or exception; BrokenProcessPool if its process died twice.
        """
        task = _Task(function, arguments)
        with self._lock:
            number = next(self._numbers)
            self._tasks[number] = task
            self._send(number, task)
        return task.result

    def _send(self, number: int, task: _Task) -> None:
        pool = self._pool
        try:
            sent = pool.submit(task.function, *task.arguments)
        except BrokenProcessPool:
            self._replace(pool)
        else:
            sent.add_done_callback(lambda done: self._settle(pool, number, done))

    def _settle(self, pool: ProcessPoolExecutor, number: int, done: "Future[Any]") -> None:
        """Pass on a call's result; runs in a thread that may hold the pool's lock, so it must not acquire another."""
        error = done.exception()
        if isinstance(error, BrokenProcessPool):
            if pool not in self._dead:
                self._dead.add(pool)
                threading.Thread(target=self._replace, args=(pool,)).start()
            return
        result = self._tasks.pop(number).result
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(done.result())

    def _replace(self, pool: ProcessPoolExecutor) -> None:
        """Replace a process that died and send the remaining calls to the new one."""
        with self._lock:
            if self._pool is not pool:
                return
            tasks = self._tasks.items()
            try:
                self._pool = self._start(True)
            except OSError as error:
                self._give_up([number for number, _ in tasks], error)
                return
            for _, task in tasks:
                task.deaths += 1
            self._give_up([number for number, task in tasks if task.deaths == MAX_DEATHS], None)
            replacement = self._pool
            for number, task in list(tasks):
                if self._pool is replacement:  # else it died too, and its replacement got all calls
                    self._send(number, task)

    def _give_up(self, numbers: list[int], cause: OSError | None) -> None:
        for number in numbers:
            error = BrokenProcessPool("the process died")
            error.__cause__ = cause
            self._tasks.pop(number).result.set_exception(error)
