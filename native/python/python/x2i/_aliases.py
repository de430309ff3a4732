"""diffusers' names of arguments, for programs that were written for its pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from x2i._x2i import Progress


def one_of(name: str, value: Any, alias: str, other: Any, default: Any = None) -> Any:
    """The value of an argument that has two names.

    Raises TypeError where both are given.
    """
    if other is None:
        return value
    if value is not None and value is not default:
        raise TypeError(f"{alias} is diffusers' name of {name}; give one of them")
    return other


def seed_of(seed: int | None, generator: Any) -> int | None:
    """The seed: a number, or that of a torch.Generator."""
    if generator is not None:
        if isinstance(generator, (list, tuple)):
            raise TypeError("generator: is one generator; pictures of one call have the seeds n, n + 1, ...")
        if not hasattr(generator, "initial_seed"):
            raise TypeError("generator: has no initial_seed(); give torch.Generator().manual_seed(n), or seed=n")
        seed = one_of("seed", seed, "generator", int(generator.initial_seed()))
    if seed is None or seed == -1:  # -1 is a random one, as in `x2i generate --seed -1`
        return None
    return seed


def step_end(pipe: Any, callback: Callable[..., Any]) -> Callable[[Progress], object]:
    """A function that hears progress and calls `callback_on_step_end(pipe, step, timestep, {})` after each step.

    The timestep is None: no tensors of a step leave the pipeline.
    """
    told = 0

    def hear(progress: Progress) -> object:
        nonlocal told
        if progress.phase != "denoise" or progress.step is None:
            return None
        if progress.step == 0:
            told = 0  # another picture
        while told < progress.step:
            told += 1
            if callback(pipe, told - 1, None, {}) is False:
                return False
        return None

    return hear
