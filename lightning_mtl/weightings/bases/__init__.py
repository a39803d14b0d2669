"""The base classes of weightings, by what they need of the tasks."""
