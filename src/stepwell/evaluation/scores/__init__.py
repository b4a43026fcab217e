"""Scores of examples, one file for each kind, and the metrics that are taken of them: NumPy alone."""
