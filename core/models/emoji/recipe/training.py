"""What every training stage shares: seeds, one thread, the learning-rate schedule, the moving average, checkpoints.

Budgets are optimizer steps, so a run depends on its seed and not on how busy the machine is. A checkpoint holds the
models, their moving averages, the optimizer and the random states: `--resume` continues as if never interrupted.
"""

import argparse
import copy
import os
import random
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np  # noqa: E402  (after the thread limit)
import torch  # noqa: E402

import quick  # noqa: E402


HALF = any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))


def half_precision() -> torch.autocast:
    """Products in bfloat16 where the CPU has instructions for them (2.4 times as fast on a Zen 5), else in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=HALF)


def stage_arguments(doc: str, steps: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with the data; checkpoints go there too")
    parser.add_argument("--steps", type=int, default=steps, help=f"optimizer steps ({steps})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="continue from this stage's last checkpoint")
    parser.add_argument("--report-every", type=int, default=200, help="steps between reports and checkpoints")
    return parser


def seed_everything(seed: int) -> None:
    torch.set_num_threads(1)  # two threads fight with the machine's other work and lose
    quick.install()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def warm_up_then_decay(step: int, steps: int, warm_up: int = 50, decay: float = 0.6, floor: float = 0.02) -> float:
    """Factor on the learning rates: linear warm-up, plateau, linear decay over the last `decay` of the steps."""
    return min(1.0, (step + 1) / warm_up) * (floor + (1 - floor) * min(1.0, (1 - step / steps) / decay))


def one_over_step(step: int, steps: int, plateau: int = 1200, warm_up: int = 50, decay: float = 0.2) -> float:
    """Factor on the learning rates: warm-up, `plateau` steps, then inverse to the step; a linear end over the last `decay`."""
    return min(1.0, (step + 1) / warm_up) * min(1.0, plateau / (step + 1)) * min(1.0, (1 - step / steps) / decay)


class MovingAverage:
    """Exponential moving averages of modules' weights: the weights that are saved and scored."""

    def __init__(self, modules: dict[str, torch.nn.Module], decay: float):
        self.live, self.decay = modules, decay
        self.averaged = {name: copy.deepcopy(m).eval().requires_grad_(False) for name, m in modules.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, module in self.live.items():
            torch._foreach_lerp_(list(self.averaged[name].parameters()), list(module.parameters()), 1 - decay)

    def __getitem__(self, name: str) -> torch.nn.Module:
        return self.averaged[name]


class Checkpoint:
    """Everything a stage needs to go on, in WORK/<stage>.checkpoint."""

    def __init__(self, work: Path, stage: str, average: MovingAverage, optimizer):
        self.path = work / f"{stage}.checkpoint"
        self.average, self.optimizer = average, optimizer
        self.cpu_before = 0.0

    def save(self, step: int) -> None:
        state = {
            "step": step,
            "cpu_seconds": self.cpu_seconds(),
            "live": {name: m.state_dict() for name, m in self.average.live.items()},
            "averaged": {name: m.state_dict() for name, m in self.average.averaged.items()},
            "optimizer": self.optimizer.state_dict(),
            "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        }
        temporary = self.path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.path)

    def load(self) -> int:
        """The step to go on with."""
        state = torch.load(self.path, weights_only=False)
        for name, module in self.average.live.items():
            module.load_state_dict(state["live"][name])
            self.average.averaged[name].load_state_dict(state["averaged"][name])
        if state["optimizer"] is None:  # of keep.py: weights alone
            self._begin_anew(state["step"])
        else:
            self.optimizer.load_state_dict(state["optimizer"])
            python, numpy, torch_state = state["random"]
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_rng_state(torch_state)
        self.cpu_before = state["cpu_seconds"] - time.process_time()
        return state["step"]

    @staticmethod
    def _begin_anew(step: int) -> None:
        """Other samples than those that the run had begun with."""
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(step)

    def cpu_seconds(self) -> float:
        return self.cpu_before + time.process_time()


def parameter_count(module: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M"
