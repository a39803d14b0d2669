"""The weightings and aggregators of TorchJD."""
