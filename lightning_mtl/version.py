"""The version of the package, where its build and its users read it."""

__version__ = "0.1.0"
