"""Muon for weight matrices and convolutions, AdamW for everything else.

Muon replaces the momentum of a matrix by the nearest orthogonal matrix (by three to five Newton-Schulz iterations), so that every
direction moves at the same speed; on these small models it needs a third of AdamW's steps. The iterations run in
bfloat16 where the CPU has it: without its instructions a bfloat16 product is 90 times slower than a float32 one.
"""

import torch

from training import half_precision

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients of K. Jordan's Muon
UPDATE_SCALE = 0.2  # makes an update's RMS about that of AdamW (Moonlight, 2025)


@torch.no_grad()
def orthogonalize(matrices: torch.Tensor, iterations: int) -> torch.Tensor:
    """Matrices [n, rows, columns] to the nearest semi-orthogonal ones."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.transpose(-1, -2) if tall else matrices
    x = x / (x.flatten(-2).norm(dim=-1)[:, None, None] + 1e-7)
    with half_precision():
        for _ in range(iterations):
            gram = x @ x.transpose(-1, -2)
            x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.transpose(-1, -2) if tall else x).float()


class MuonAdamW:
    """One optimizer over `matrices` (2-D and 4-D parameters, by Muon) and `others` (by AdamW)."""

    def __init__(self, matrices, others, lr, adam_lr, momentum=0.95, weight_decay=0.03, iterations=5):
        self.by_shape = {}  # same-shaped parameters share one batched iteration
        for parameter in matrices:
            self.by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
        self.velocity = {p: torch.zeros_like(p) for p in matrices}
        self.lr, self.adam_lr, self.momentum, self.weight_decay = lr, adam_lr, momentum, weight_decay
        self.iterations = iterations
        self.adam = torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.parameters = list(matrices) + list(others)

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, schedule: float):
        """One update, both learning rates multiplied by `schedule`."""
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * schedule
        self.adam.step()
        for parameters in self.by_shape.values():
            updates = torch.stack([self._nesterov(p) for p in parameters])
            flat = updates.flatten(2) if updates.ndim > 3 else updates
            flat = orthogonalize(flat, self.iterations)
            scale = UPDATE_SCALE * max(flat.shape[-2:]) ** 0.5
            for parameter, update in zip(parameters, flat.view_as(updates)):
                parameter.mul_(1 - self.lr * schedule * self.weight_decay)
                parameter.add_(update, alpha=-self.lr * schedule * scale)

    def _nesterov(self, parameter):
        velocity = self.velocity[parameter]
        if parameter.grad is None:
            return velocity
        velocity.mul_(self.momentum).add_(parameter.grad)
        return parameter.grad + self.momentum * velocity

    def state_dict(self):
        velocities = [self.velocity[p] for group in self.by_shape.values() for p in group]
        return {"adam": self.adam.state_dict(), "velocity": velocities}

    def load_state_dict(self, state):
        self.adam.load_state_dict(state["adam"])
        parameters = [p for group in self.by_shape.values() for p in group]
        for parameter, velocity in zip(parameters, state["velocity"]):
            self.velocity[parameter].copy_(velocity)


def split_parameters(named_parameters, is_matrix):
    """(matrices, others): the parameters for which `is_matrix(name, parameter)` holds, and the rest."""
    named_parameters = [(n, p) for n, p in named_parameters if p.requires_grad]
    matrices = [p for n, p in named_parameters if is_matrix(n, p)]
    others = [p for n, p in named_parameters if not is_matrix(n, p)]
    return matrices, others
