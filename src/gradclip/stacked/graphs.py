"""Functions that are replayed as CUDA graphs on a CUDA device, and called as they are on any other."""

from collections.abc import Callable

import torch
from torch import Tensor


class GraphedFunction:
    """A function of tensors that only changes other tensors, always the same ones, in place.

    On a CUDA device the first call with arguments of some shapes runs as it is, which initialises the libraries that it
    uses. The second call is captured as a CUDA graph, and this and all later ones replay it: one launch in place of
    hundreds. So the function must depend on no value on the device and on nothing in Python that changes between calls.

    On any other device each call is a plain call.

    Args:
        function: the function.
        device: the device of the tensors.
    """

    def __init__(self, function: Callable[..., None], device: torch.device) -> None:
        self._function, self._device = function, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle() if self._stream else None  # no graph leaves anything in it
        self._graphs: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]] | None] = {}

    def __call__(self, *arguments: Tensor) -> None:
        """Call the function; arguments are copied, so that each call may have others."""
        if self._stream is None:
            self._function(*arguments)
            return
        shapes = tuple(argument.shape for argument in arguments)
        if shapes not in self._graphs:
            self._graphs[shapes] = None
            self._warm_up(self._stream, arguments)
            return
        graph, static_arguments = self._graphs[shapes] or self._capture(self._stream, arguments)
        self._graphs[shapes] = graph, static_arguments
        for static, argument in zip(static_arguments, arguments, strict=True):
            static.copy_(argument, non_blocking=True)
        graph.replay()

    def _warm_up(self, stream: torch.cuda.Stream, arguments: tuple[Tensor, ...]) -> None:
        """Call the function on the stream on which it will be captured."""
        current = torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            self._function(*arguments)
        current.wait_stream(stream)

    def _capture(
        self, stream: torch.cuda.Stream, arguments: tuple[Tensor, ...]
    ) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
        """Return a graph, which has not run yet, and the tensors from which it reads its arguments."""
        graph, static = torch.cuda.CUDAGraph(), tuple(argument.clone() for argument in arguments)
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            self._function(*static)
        return graph, static
