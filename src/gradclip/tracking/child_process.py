"""A child process that performs calls in order and is replaced if it dies."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
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
        self._lock = threading.RLock()
        self._tasks: dict[_Task, None] = {}  # in order, until they are done
        self._dead: set[ProcessPoolExecutor] = set()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Submit a call, which is performed after all earlier ones.

        Returns:
            A future of its result or exception; BrokenProcessPool if its process died twice.
        """
        task = _Task(function, arguments)
        with self._lock:
            self._tasks[task] = None
            self._send(task)
        return task.result

    def _send(self, task: _Task) -> None:
        pool = self._pool
        try:
            sent = pool.submit(task.function, *task.arguments)
        except BrokenProcessPool:
            self._replace(pool)
        else:
            sent.add_done_callback(lambda done: self._settle(pool, task, done))

    def _settle(self, pool: ProcessPoolExecutor, task: _Task, done: "Future[Any]") -> None:
        """Pass on a call's result; runs in a thread that may hold the pool's lock, so it must not acquire another."""
        error = done.exception()
        if isinstance(error, BrokenProcessPool):
            if pool not in self._dead:
                self._dead.add(pool)
                threading.Thread(target=self._replace, args=(pool,)).start()
            return
        del self._tasks[task]
        if error is not None:
            task.result.set_exception(error)
        else:
            task.result.set_result(done.result())

    def _replace(self, pool: ProcessPoolExecutor) -> None:
        """Replace a process that died and send the remaining calls to the new one."""
        with self._lock:
            if self._pool is not pool:
                return
            try:
                self._pool = self._start(True)
            except OSError as error:
                self._give_up([*self._tasks], error)
                return
            for task in self._tasks:
                task.deaths += 1
            self._give_up([task for task in self._tasks if task.deaths == MAX_DEATHS], None)
            replacement = self._pool
            for task in [*self._tasks]:
                if self._pool is replacement:  # else it died too, and its replacement got all calls
                    self._send(task)

    def _give_up(self, tasks: list[_Task], cause: OSError | None) -> None:
        for task in tasks:
            error = BrokenProcessPool("the process died")
            error.__cause__ = cause
            del self._tasks[task]
            task.result.set_exception(error)
