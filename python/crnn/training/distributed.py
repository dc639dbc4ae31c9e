"""Several processes that train one model, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Ranks:
    """This process among those of the run; alone unless torchrun's variables say otherwise.

    Args:
        device: ``"cpu"`` (gloo), or ``"cuda"`` (NCCL; each process takes the GPU of its number).

    Attributes:
        rank: number of this process, 0 for the one that writes.
        count: processes in all.
        device: where this process computes.
    """

    def __init__(self, device: str) -> None:
        self.rank, self.count = (int(os.environ.get(k, d)) for k, d in _VARIABLES)
        self.device = torch.device(device)
        if self.count == 1:
            return
        if self.device.type == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def writes(self) -> bool:
        """Whether this process keeps the log, the checkpoints and the validations."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients averaged over the processes; it is shared, not copied."""
        if self.count == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over all processes, so that all decide alike."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(value) for value in tensor.tolist()]

    def close(self) -> None:
        """Leave the group."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"))  # of torchrun
