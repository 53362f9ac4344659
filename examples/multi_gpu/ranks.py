"""A rank process for each GPU of the worker, joined by torch.distributed; two ranks on the CPU.

The worker talks to rank 0, which scatters a batch over all ranks and gathers the results. A rank that dies ends the
worker, and Tiffin replaces the group whole.
"""

import os
import tempfile
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from adder import Network

import tiffin

Rows = Annotated[np.ndarray, tiffin.Shape("rows", 4), tiffin.DType("float32")]


def rank_main(rank: int, ranks: int, store: str, pipe: Connection) -> None:
    """Live as one rank: run what rank 0 is given, each its share of the rows."""
    gpu = tiffin.device() != "cpu"
    device = torch.device("cuda", rank) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    torch.set_num_threads(1)
    dist.init_process_group("nccl" if gpu else "gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    model = Network().eval().to(device)
    pipe.send(os.getpid())
    while True:
        shape = torch.zeros(2, dtype=torch.long, device=device)
        rows: Any = None
        if rank == 0:
            rows = torch.from_numpy(pipe.recv()).to(device)
            shape = torch.tensor(rows.shape, device=device)
        dist.broadcast(shape, 0)
        share = -(-int(shape[0]) // ranks)
        mine = torch.empty(share, int(shape[1]), device=device)
        parts = None
        if rank == 0:  # every rank gets as many rows; what is added at the end is cut off again
            padded = torch.cat([rows, rows.new_zeros(share * ranks - len(rows), rows.shape[1])])
            parts = list(padded.chunk(ranks))
        dist.scatter(mine, parts, 0)
        with torch.inference_mode():
            scores = model(mine)
        gathered = [torch.empty_like(scores) for _ in range(ranks)] if rank == 0 else None
        dist.gather(scores, gathered, 0)
        if rank == 0 and gathered is not None:
            pipe.send(torch.cat(gathered)[: int(shape[0])].cpu().numpy())


@tiffin.service(resources={"gpu": 2})
class Ranks:
    def __init__(self) -> None:
        ranks = max(2, len(tiffin.torch.devices()))
        context = mp.get_context("spawn")  # never fork a process that may have used CUDA
        store = str(Path(tempfile.mkdtemp(prefix="tiffin-ranks-")) / "store")
        self.pipes, self.processes = [], []
        for rank in range(ranks):
            ours, theirs = context.Pipe()
            process = context.Process(target=rank_main, args=(rank, ranks, store, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        threading.Thread(target=self._watch, daemon=True).start()
        self.pids = [pipe.recv() for pipe in self.pipes]  # all have joined the group

    def _watch(self) -> None:
        """End this worker when any rank ends: the others would wait for it for ever."""
        wait([process.sentinel for process in self.processes])
        os._exit(1)

    @tiffin.api(batchable=True, max_batch_size=256)
    def predict(self, rows: Rows) -> np.ndarray:
        self.pipes[0].send(rows)
        scores: np.ndarray = self.pipes[0].recv()
        return scores

    @tiffin.api
    def ranks(self) -> list[int]:
        return self.pids
