"""The version of the package, where its build and its users read it."""

__version__ = "1.0.0"
