import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanAbsoluteError

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import GradientNoiseMonitor, GradNorm, MetricTable

CLASSES = {"price": 1, "age": 1, "weight": 1, "colour": 3, "grade": 4}  # 1: a number


class Goods(MultiTaskModule):
    task_names = tuple(CLASSES)

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(5, 64), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(64, n) for name, n in CLASSES.items()})

    def task_predictions(self, batch):
        features, pairs = self.trunk(batch[0]), {}
        for (name, n), target in zip(CLASSES.items(), batch[1].T, strict=True):
            if (known := ~target.isnan()).any():
                output, label = self.heads[name](features[known]), target[known]
                pairs[name] = (output[:, 0], label) if n == 1 else (output, label.long())
        return pairs

    def task_losses(self, batch):
        pairs = self.task_predictions(batch).items()
        return {k: (mse_loss if CLASSES[k] == 1 else cross_entropy)(*pair) for k, pair in pairs}

    def task_metrics(self):
        sizes = CLASSES.items()
        return {k: MulticlassAccuracy(n) if n > 1 else MeanAbsoluteError() for k, n in sizes}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


table = torch.tensor(np.genfromtxt("table.csv", delimiter=",", skip_header=1, dtype=np.float32))
train, val = (TensorDataset(part[:, :5], part[:, 5:]) for part in table.split([800, 200]))
best = ModelCheckpoint("checkpoints", monitor="val/price/MeanAbsoluteError", save_last=True)
callbacks = [GradNorm(), GradientNoiseMonitor(every_n_steps=10), MetricTable(), best]
trainer = L.Trainer(max_epochs=10, callbacks=callbacks)
trainer.fit(Goods(), DataLoader(train, 50, shuffle=True), DataLoader(val, 200), ckpt_path="last")
