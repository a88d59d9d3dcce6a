"""Replay a step of training as one CUDA graph: the processor starts one graph where it started hundreds of kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_CALLS = 3  # made as they are before the capture: in the first ones buffers appear and libraries choose their kernels


class CapturedStep:
    """A step that is captured after a few calls and replayed from then on: the same kernels, and the same result up to rounding.

    A graph has fixed shapes and fixed addresses (PyTorch, "CUDA Graphs"). The arguments are therefore copied into
    tensors of the graph's own, and a call with arguments of other shapes runs the step as it is.

    Args:
        step: takes tensors on one CUDA device and returns nothing. It changes what it changes in place, draws no random
            numbers, never waits for the device, and reads no number that changes between calls.
    """

    def __init__(self, step: Callable[..., None]):
        self._step, self._calls = step, 0
        self._shapes: list[torch.Size] = []  # of the first call's arguments
        self._stream: torch.cuda.Stream | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._arguments: list[Tensor] = []

    def __call__(self, *arguments: Tensor) -> None:
        """Run the step once on ``arguments``."""
        shapes = [argument.shape for argument in arguments]
        self._shapes = self._shapes or shapes
        if self._calls < WARM_CALLS or shapes != self._shapes:  # the last batch of an epoch is often shorter
            self._calls += 1
            self._run_aside(arguments)
            return
        if self._graph is None:
            self._capture(arguments)  # records the step and runs nothing
        for own, argument in zip(self._arguments, arguments, strict=True):
            own.copy_(argument)
        self._graph.replay()

    def _run_aside(self, arguments) -> None:
        """Run the step as it is, on a stream of its own, as a capture asks of the calls before it."""
        device = arguments[0].device  # may not be the current one
        self._stream = self._stream or torch.cuda.Stream(device)  # one for all calls: each stream keeps its memory
        current = torch.cuda.current_stream(device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._step(*arguments)
        current.wait_stream(self._stream)

    def _capture(self, arguments) -> None:
        own, graph = [argument.clone() for argument in arguments], torch.cuda.CUDAGraph()
        with torch.cuda.device(arguments[0].device), torch.cuda.graph(graph, stream=self._stream):
            self._step(*own)
        self._arguments, self._graph = own, graph
