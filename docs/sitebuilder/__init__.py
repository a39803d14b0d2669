"""What the documentation site is built from: pages that are made of the classes they describe."""
