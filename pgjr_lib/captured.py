"""Replay a step of training as one CUDA graph: the processor starts one graph where it started hundreds of kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_CALLS = 3  # made as they are before the capture: in the first ones buffers appear and libraries choose their kernels


class CapturedStep:
    """A step that is captured after a few calls and replayed from then on, with the same kernels and so the same result.

    A graph has fixed shapes and fixed addresses (PyTorch, "CUDA Graphs"). The arguments are therefore copied into
    tensors of the graph's own, and a call with arguments of other shapes runs the step as it is.

    Args:
        step: takes tensors on one CUDA device and returns nothing. It changes what it changes in place, draws no random
            numbers, never waits for the device, and reads no number that changes between calls.
    """

    def __init__(self, step: Callable[..., None]):
        self._step, self._calls = step, 0
        self._shapes: list[torch.Size] = []  # of the first call's arguments
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
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step(*arguments)
        torch.cuda.current_stream().wait_stream(stream)

    def _capture(self, arguments) -> None:
        self._arguments = [argument.clone() for argument in arguments]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._step(*self._arguments)
