"""What finished runs of several methods say: in words, tables, figures and one HTML report."""
