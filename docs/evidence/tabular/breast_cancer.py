"""Eleven tasks on one small table: the Wisconsin diagnostic set of breast tumours.

Each of 569 samples describes the cell nuclei in one picture of a fine needle aspirate. Ten
measurements are given as the mean over the nuclei, its standard error, and the "worst", the mean of
the three largest (Street, Wolberg and Mangasarian, "Nuclear feature extraction for breast tumor
diagnosis", SPIE 1993). Means and errors are the inputs. Each worst value is a regression task, and
the diagnosis, benign or malignant, is a binary one. The table comes with scikit-learn
(archive.ics.uci.edu/dataset/17, CC BY 4.0), so nothing is downloaded.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torch.utils.data import Dataset
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import BinaryAccuracy

from lightning_mtl import MultiTaskModule
from lightning_mtl.checks import check_choice
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.data.reading.splits import SPLITS, Split

MEASUREMENTS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
INPUTS = (*(f"mean {name}" for name in MEASUREMENTS), *(f"{name} error" for name in MEASUREMENTS))
"""Columns of the table, under the names that scikit-learn gives them."""
REGRESSIONS = {f"worst_{name.replace(' ', '_')}": f"worst {name}" for name in MEASUREMENTS}
"""The column of the table for each regression task."""
DIAGNOSIS = "diagnosis"
TASKS = (*REGRESSIONS, DIAGNOSIS)


class BreastCancerTable(Dataset[dict[str, Tensor]]):
    """One split of the table: `inputs`, `(20,)`, and the target of each task, `(1,)`, all floats.

    The split is fixed: 60 % of the samples train, 20 % validate and 20 % test, with the same share
    of malignant tumours in each. Inputs and regression targets are standardised: over the training
    samples their mean is 0 and their variance 1. The diagnosis is 1 for a malignant tumour.

    Args:
        split: which samples.

    Attributes:
        rows: the rows of the samples in scikit-learn's table, in ascending order.
    """

    def __init__(self, split: Split) -> None:
        check_choice(type(self).__name__, "split", split, SPLITS)
        table = load_breast_cancer()
        place = {str(name): column for column, name in enumerate(table.feature_names)}
        malignant = table.target == list(table.target_names).index("malignant")
        rows = _split_rows(malignant)
        self.rows = rows[split]
        columns = torch.from_numpy(_standardised(table.data, rows["train"])[self.rows]).float()
        self.inputs = columns[:, [place[name] for name in INPUTS]]
        self.targets = {task: columns[:, [place[name]]] for task, name in REGRESSIONS.items()}
        self.targets[DIAGNOSIS] = torch.from_numpy(malignant[self.rows, None]).float()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The inputs and the targets of one tumour."""
        targets = {task: target[index] for task, target in self.targets.items()}
        return {"inputs": self.inputs[index], **targets}


class BreastCancerDataModule(MultiTaskDataModule):
    """Batches of the three splits of `BreastCancerTable`.

    Args:
        batch_size: samples per batch and process.
    """

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__(batch_size)

    def dataset(self, split: Split) -> BreastCancerTable:
        """The samples of a split. Called by `setup`, once per split."""
        return BreastCancerTable(split)


class BreastCancer(MultiTaskModule):
    """A multilayer perceptron that all tasks share, and a linear head for each of them.

    Regressions are trained by the mean squared error and measured by its root (`RMSE`), in standard
    deviations of the target; the diagnosis by the binary cross-entropy and by its `accuracy`.

    Args:
        lr: learning rate of Adam.
        width: features of both layers that are shared.
        tasks: names of the tasks to train, any of `TASKS`; all of them by default. With one name,
            this is the single-task network that others are compared with.

    Raises:
        ValueError: if there is no such task.
    """

    def __init__(self, lr: float = 3e-3, width: int = 64, tasks: Sequence[str] = TASKS) -> None:
        super().__init__()
        for task in tasks:
            check_choice(type(self).__name__, "tasks", task, TASKS)
        self.task_names = tuple(tasks)
        self.lr = lr
        self.trunk = nn.Sequential(
            nn.Linear(len(INPUTS), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.heads = nn.ModuleDict({task: nn.Linear(width, 1) for task in self.task_names})

    def forward(self, inputs: Float[Tensor, "N 20"]) -> dict[str, Float[Tensor, "N 1"]]:
        """The standardised value of each regression, and the logit of the diagnosis."""
        features = self.trunk(inputs)
        return {task: head(features) for task, head in self.heads.items()}

    def task_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, ""]]:
        """The loss of each task. Called for each training batch."""
        outputs = self(batch["inputs"])
        return {task: _loss(task)(output, batch[task]) for task, output in outputs.items()}

    def task_metrics(self) -> dict[str, MetricCollection]:
        """`RMSE` of each regression and `accuracy` of the diagnosis. Called once per stage."""
        return {task: _metric(task) for task in self.task_names}

    def task_predictions(self, batch: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Predictions and targets of each task. Called for each batch of validation and test."""
        outputs = self(batch["inputs"])
        if DIAGNOSIS in outputs:
            # The metric takes logits for probabilities wherever all of a batch lie in [0, 1].
            outputs[DIAGNOSIS] = outputs[DIAGNOSIS].sigmoid()
        return {task: (output, batch[task]) for task, output in outputs.items()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at a constant learning rate. Called when training starts."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def _loss(task: str) -> Callable[[Tensor, Tensor], Float[Tensor, ""]]:
    return binary_cross_entropy_with_logits if task == DIAGNOSIS else mse_loss


def _metric(task: str) -> MetricCollection:
    if task == DIAGNOSIS:
        return MetricCollection({"accuracy": BinaryAccuracy()})
    return MetricCollection({"RMSE": MeanSquaredError(squared=False)})


def _split_rows(labels: Bool[NDArray, " N"]) -> dict[Split, Int[NDArray, " n"]]:
    """The rows of each split: 60, 20 and 20 % of each label, drawn with a fixed seed."""
    train, others = train_test_split(
        np.arange(len(labels)), train_size=0.6, stratify=labels, random_state=0
    )
    val, test = train_test_split(others, train_size=0.5, stratify=labels[others], random_state=0)
    return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


def _standardised(
    values: Float[NDArray, "N C"], train: Int[NDArray, " n"]
) -> Float[NDArray, "N C"]:
    """Columns whose mean is 0 and whose variance is 1 over the rows that train."""
    return StandardScaler().fit(values[train]).transform(values)
