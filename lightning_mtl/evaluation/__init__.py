"""Measuring the tasks of a module in validation and test, by metrics of torchmetrics."""
