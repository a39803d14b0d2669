"""What newcomers write is run by the tests, and not imported."""

collect_ignore = ["table.py"]
