"""Synthetic sequence tasks that need a long memory.

The tasks are those of Hochreiter & Schmidhuber 1997, "Long short-term memory", as described by Pascanu et al. 2013, "On
the difficulty of training recurrent neural networks"; where the two texts are ambiguous, the published code of
Pascanu et al. decides.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradclip.arrays import Integers
from gradclip.data.score_scale import ScoreScale
from gradclip.errors import DataError
from gradclip.ranges import COUNT, counts_from
from gradclip.scores import ACCURACY, MSE

Inputs = NDArray[np.float32]
Target = NDArray[np.float32] | Integers
Draw = Callable[[np.random.Generator, int], tuple[Inputs, Target]]

SYMBOL_TENTHS = {2: (1, 5), 3: (1, 3, 6)}  # tenths of the sequence that have an A or a B, by their number


@dataclass(frozen=True)
class Task:
    """A sequence task: its sizes, its score, and the function that draws sequences.

    Attributes:
        steps: time steps of a sequence.
        inputs: inputs at each time step.
        outputs: outputs of the network: the number of classes, or 1 for a real-valued target.
        score_scale: the score, with its baseline and the value at which the task counts as solved.
        draw: takes a random generator and a number of sequences, and returns inputs ``[sequences, steps, inputs]`` and
            target: ``[sequences, 1]`` real-valued, ``[sequences]`` or ``[sequences, steps]`` of classes.
        every_step: whether there is a target at every time step rather than one for the whole sequence.
    """

    steps: int
    inputs: int
    outputs: int
    score_scale: ScoreScale
    draw: Draw
    every_step: bool = False


def adding(length: int, solved_at: float | None = None) -> Task:
    """Adding problem: the sum of the two marked numbers among ``length`` numbers in [0, 1].

    Each step has two inputs, the mark and the number. The first mark is in the first tenth of the sequence, the second
    between there and the middle. Predicting the mean, 1, gives a mean squared error of 1/6.

    Source: Hochreiter & Schmidhuber 1997, section 5.4; positions as in Pascanu et al. 2013, who halve the sum.

    Raises:
        DataError: a number is out of range.

    Example:
        >>> inputs, target = adding(10).draw(np.random.default_rng(0), 2)
        >>> inputs.shape, np.allclose(target[:, 0], (inputs[:, :, 0] * inputs[:, :, 1]).sum(axis=1))
        ((2, 10, 2), True)
    """
    return _marked_numbers(length, np.add, ScoreScale(MSE, 1 / 6, solved_at))


def multiplication(length: int, solved_at: float | None = None) -> Task:
    """Multiplication problem: the product of the two marked numbers; inputs and positions as in :func:`adding`.

    Predicting the mean, 1/4, gives a mean squared error of 7/144.

    Source: Pascanu et al. 2013, section 4.1 (task of Hochreiter & Schmidhuber 1997, section 5.5).

    Raises:
        DataError: a number is out of range.
    """
    return _marked_numbers(length, np.multiply, ScoreScale(MSE, 7 / 144, solved_at))


def temporal_order(length: int, symbols: int = 2, solved_at: float | None = None) -> Task:
    """Temporal order problem: the order in which the symbols A and B appear among four other symbols.

    The input is one of six symbols, one-hot; the first two are A and B. A or B appears at ``symbols`` positions, each
    drawn from one tenth of the sequence: the second and the sixth, or the second, the fourth and the seventh.
    The class is a binary number whose lowest bit is the first symbol, with A as 0 and B as 1.

    Source: Pascanu et al. 2013, section 4.1 (tasks 6a and 6b of Hochreiter & Schmidhuber 1997).

    Args:
        length: time steps of a sequence, 10 or more.
        symbols: number of positions with A or B, 2 or 3; there are ``2**symbols`` classes.
        solved_at: accuracy at which the task counts as solved.

    Raises:
        DataError: a number is out of range.

    Example:
        >>> inputs, target = temporal_order(20).draw(np.random.default_rng(0), 3)
        >>> [["ABcdef"[symbol] for symbol in row if symbol < 2] for row in inputs.argmax(axis=2)], target
        ([['B', 'B'], ['B', 'A'], ['A', 'A']], array([3, 1, 0]))
    """
    length = counts_from(10).check("data.length", length, DataError)
    if symbols not in SYMBOL_TENTHS:
        raise DataError(f"data.symbols: got {symbols!r}; choose from {', '.join(map(str, SYMBOL_TENTHS))}")
    tenth, starts = length // 10, SYMBOL_TENTHS[symbols]

    def draw(generator: np.random.Generator, count: int) -> tuple[Inputs, Target]:
        order = generator.integers(2, size=(count, symbols))
        sequence = generator.integers(2, 6, size=(count, length))
        for number, start in enumerate(starts):
            position = length * start // 10 + generator.integers(tenth, size=count)
            sequence[np.arange(count), position] = order[:, number]
        return _one_hot(sequence, 6), order @ (1 << np.arange(symbols))

    return Task(length, 6, 2**symbols, ScoreScale(ACCURACY, 0.5**symbols, solved_at), draw)


def random_permutation(length: int, solved_at: float | None = None) -> Task:
    """Random permutation problem: predict the first symbol, one of two, at the end of the sequence.

    The input is one of 100 symbols, one-hot. All but the first are drawn from the other 98. The class is the first
    symbol; the accuracy of chance is 1/2.

    Source: Pascanu et al. 2013, section 4.1.

    Raises:
        DataError: a number is out of range.
    """
    length = counts_from(2).check("data.length", length, DataError)

    def draw(generator: np.random.Generator, count: int) -> tuple[Inputs, Target]:
        sequence = generator.integers(2, 100, size=(count, length))
        sequence[:, 0] = generator.integers(2, size=count)
        return _one_hot(sequence, 100), sequence[:, 0]

    return Task(length, 100, 100, ScoreScale(ACCURACY, 0.5, solved_at), draw)


def noiseless_memorization(length: int, values: int = 5, positions: int = 10, solved_at: float | None = None) -> Task:
    """Noiseless memorization problem: repeat a pattern of symbols after ``length`` blank steps, on a cue.

    The input is one of ``values`` symbols, the blank or the cue, one-hot; the cue comes at the first step of the
    answer. The target is the symbols of the pattern in the answer, and blank at all other steps. The baseline is the
    accuracy of predicting all blanks and guessing the pattern.

    Source: Pascanu et al. 2013, section 4.1 (after Martens & Sutskever 2011).

    Args:
        length: blank time steps between pattern and answer, 1 or more.
        values: number of different symbols in the pattern.
        positions: number of symbols in a pattern.
        solved_at: accuracy at which the task counts as solved.

    Raises:
        DataError: a number is out of range.
    """
    return _recall(length, values, positions, solved_at, cue=0)


def copy(length: int, values: int = 8, positions: int = 10, solved_at: float | None = None) -> Task:
    """Copy problem: repeat a pattern of symbols after ``length`` steps, the last of which is the cue.

    Inputs, target and baseline are otherwise the same as in :func:`noiseless_memorization`.

    Source: Arjovsky et al. 2016, "Unitary evolution recurrent neural networks", section 4.1.

    Args:
        length: time steps between pattern and answer, the cue included; 1 or more.
        values: number of different symbols in the pattern.
        positions: number of symbols in a pattern.
        solved_at: accuracy at which the task counts as solved.

    Raises:
        DataError: a number is out of range.
    """
    return _recall(length, values, positions, solved_at, cue=-1)


TASKS: dict[str, Callable[..., Task]] = {
    task.__name__: task
    for task in (adding, multiplication, temporal_order, random_permutation, noiseless_memorization, copy)
}


def _marked_numbers(length: int, combine: np.ufunc, score_scale: ScoreScale) -> Task:
    """Return a task whose target combines two marked numbers."""
    length = counts_from(10).check("data.length", length, DataError)
    early, middle = length // 10, length // 2

    def draw(generator: np.random.Generator, count: int) -> tuple[Inputs, Target]:
        sequences, inputs = np.arange(count), np.zeros((count, length, 2), dtype=np.float32)
        inputs[:, :, 1] = generator.random((count, length), dtype=np.float32)
        first, second = generator.integers(early, size=count), generator.integers(early, middle, size=count)
        for position in (first, second):
            inputs[sequences, position, 0] = 1
        return inputs, combine(inputs[sequences, first, 1], inputs[sequences, second, 1])[:, None]

    return Task(length, 2, 1, score_scale, draw)


def _recall(length: int, values: int, positions: int, solved_at: float | None, cue: int) -> Task:
    """Return a task that repeats a pattern at the end; ``cue`` is the cue's step, counted from the answer's first."""
    length = COUNT.check("data.length", length, DataError)
    values = counts_from(2).check("data.values", values, DataError)
    positions = COUNT.check("data.positions", positions, DataError)
    steps = length + 2 * positions

    def draw(generator: np.random.Generator, count: int) -> tuple[Inputs, Target]:
        pattern = generator.integers(values, size=(count, positions))
        sequence = np.full((count, steps), values)
        sequence[:, :positions], sequence[:, positions + length + cue] = pattern, values + 1
        target = np.full((count, steps), values)
        target[:, -positions:] = pattern
        return _one_hot(sequence, values + 2), target

    chance = (steps - positions + positions / values) / steps
    return Task(steps, values + 2, values + 1, ScoreScale(ACCURACY, chance, solved_at), draw, every_step=True)


def _one_hot(symbols: Integers, count: int) -> Inputs:
    return np.eye(count, dtype=np.float32).take(symbols, axis=0)
