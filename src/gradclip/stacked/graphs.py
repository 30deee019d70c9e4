"""Functions that are replayed as CUDA graphs on a CUDA device, and called directly on other devices."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


class _Graph(NamedTuple):
    """A captured function.

    Attributes:
        graph: the graph that is replayed.
        arguments: tensors from which it reads its arguments.
        results: its results, in memory that each replay overwrites.
    """

    graph: torch.cuda.CUDAGraph
    arguments: Tensors
    results: Tensors


class GraphedFunction:
    """A function of tensors that may change other tensors, always the same ones, in place.

    On a CUDA device, the first call with arguments of given shapes runs directly, which initializes the libraries in
    use. The second call is captured as a CUDA graph. It and all later calls replay the graph, in one launch instead of
    hundreds. Therefore the function must not depend on values on the device, nor on Python state that changes between
    calls. On other devices, each call is an ordinary call.

    Args:
        function: the function; it returns any number of tensors, which are new at each call.
        device: the device of the tensors.
    """

    def __init__(self, function: Callable[..., Tensors], device: torch.device) -> None:
        self._function, self._device = function, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle() if self._stream else None  # shared: only one graph runs at a time
        self._graphs: dict[tuple[torch.Size, ...], _Graph | None] = {}

    def __call__(self, *arguments: Tensor) -> Tensors:
        """Call the function; its arguments are copied to the graph's tensors."""
        if self._stream is None:
            return self._function(*arguments)
        shapes = tuple(argument.shape for argument in arguments)
        if shapes not in self._graphs:
            self._graphs[shapes] = None
            return self._warm_up(self._stream, arguments)
        captured = self._graphs[shapes] or self._capture(self._stream, arguments)
        self._graphs[shapes] = captured
        for static, argument in zip(captured.arguments, arguments, strict=True):
            static.copy_(argument, non_blocking=True)
        captured.graph.replay()
        return tuple([result.clone() for result in captured.results])

    def _warm_up(self, stream: torch.cuda.Stream, arguments: Tensors) -> Tensors:
        """Call the function on the stream on which it will be captured."""
        current = torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            results = self._function(*arguments)
        current.wait_stream(stream)
        return results

    def _capture(self, stream: torch.cuda.Stream, arguments: Tensors) -> _Graph:
        """Capture the function as a graph, without running it."""
        graph, static = torch.cuda.CUDAGraph(), tuple(argument.clone() for argument in arguments)
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            results = self._function(*static)
        return _Graph(graph, static, results)
