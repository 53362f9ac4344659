"""A Lightning module of a user's own."""

from __future__ import annotations

import lightning
import torch


class LitNetwork(lightning.LightningModule):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, hidden), torch.nn.Linear(hidden, 2))

    def forward(self, rows):
        return self.net(rows)
