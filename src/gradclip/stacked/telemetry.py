"""Gradient records of stacked replicas, each as in an ordinary run."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradclip.arrays import Booleans, Floats, Integers
from gradclip.stacked.measurements import SCALARS, StackedMeasurements, StackedStep
from gradclip.telemetry.divergence import diverged_steps
from gradclip.telemetry.record import MATRICES, GradientRecord
from gradclip.telemetry.steps import StepIndex


class StackedRecorder:
    """Recorder that measures the optimizer steps of all replicas on their device and transfers the results in blocks.

    Args:
        names: names of the parameter tensors.
        replicas: number of replicas.
        total_steps: optimizer steps of a training run that does not end early.
    """

    def __init__(self, names: tuple[str, ...], replicas: int, total_steps: int) -> None:
        self.names = names
        self._indices = np.empty((total_steps, 3), dtype=np.int64)
        self._steps = self._flushed = 0
        self._scalars = np.empty((len(SCALARS), replicas, total_steps))  # pages are allocated on the first write
        self._matrices = np.empty((len(MATRICES), replicas, total_steps, len(names)))
        self._writer = ThreadPoolExecutor(1)  # writes a block while the device takes the next steps
        self._writing: Future[None] | None = None

    @property
    def pending(self) -> int:
        """Number of steps since the last flush."""
        return self._steps - self._flushed

    def start_block(self, replicas: Tensor, measurements: StackedMeasurements) -> None:
        """Record only the replicas with the given indices, ``[replicas]``, from now on; no step may be pending."""
        are_all = len(replicas) == self._scalars.shape[1]
        self._replicas = slice(None) if are_all else replicas.numpy()  # a slice is written in half the time
        self._measurements = measurements

    def record_step(self, step: StackedStep, parameters: Tensor, index: StepIndex, measures_update: bool) -> None:
        """Record a step.

        Args:
            step: tensors of the step.
            parameters: the weights after the step, ``[replicas, parameters]``.
            index: its position in the training.
            measures_update: whether the change of the weights is measured.
        """
        self._measurements.add(step, parameters, measures_update)
        self._indices[self._steps] = index
        self._steps += 1

    def flush(self) -> Booleans:
        """Transfer the pending steps from the device to the records.

        Returns:
            Whether each step diverged, ``[steps, replicas]``, in the order of :meth:`start_block`.
        """
        scalars, matrices = self._read()
        self._finish_writing()
        steps = slice(self._flushed, self._steps)
        self._writing = self._writer.submit(self._write, self._replicas, steps, scalars, matrices)
        self._flushed = self._steps
        loss, skipped = (scalars[SCALARS.index(name)].T for name in ("loss", "skipped"))
        return diverged_steps(loss, skipped > 0, matrices[MATRICES.index("weights")].swapaxes(0, 1))

    def record_of(self, replica: int, steps: int) -> GradientRecord:
        """Return a replica's record of the first ``steps`` steps, all flushed; its learning rates are NaN."""
        self._finish_writing()
        step, epoch, batch = self._indices[:steps].T
        scalars: dict[str, NDArray[Any]] = dict(zip(SCALARS, self._scalars[:, replica, :steps], strict=True))
        scalars["skipped"] = scalars["skipped"] > 0
        return GradientRecord(
            names=self.names,
            step=step,
            epoch=epoch,
            batch=batch,
            has_loss=np.ones(steps, dtype=np.bool_),
            scaler_skipped=np.zeros(steps, dtype=np.bool_),
            learning_rate=np.full(steps, np.nan),
            **scalars,
            **dict(zip(MATRICES, self._matrices[:, replica, :steps], strict=True)),
        )

    def _read(self) -> tuple[Floats, Floats]:
        """Return the measured steps, ``[scalars, replicas, steps]`` and ``[matrices, replicas, steps, parameters]``."""
        copies = [part.transpose(1, 2).contiguous() for part in self._measurements.take()]  # fast on a GPU
        scalars, matrices = (copy.to("cpu", non_blocking=copy.is_cuda) for copy in copies)
        if copies[0].is_cuda:  # the copies go to pinned memory
            torch.cuda.current_stream(copies[0].device).synchronize()
        return scalars.double().numpy(), matrices.double().numpy()

    def _write(self, replicas: slice | Integers, steps: slice, scalars: Floats, matrices: Floats) -> None:
        """Write the results of a flush to the records; NumPy releases the GIL meanwhile."""
        self._scalars[:, replicas, steps] = scalars
        self._matrices[:, replicas, steps] = matrices

    def _finish_writing(self) -> None:
        """Wait until the results of the last flush are in the records."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None
