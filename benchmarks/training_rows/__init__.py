"""The rows of benchmarks/training.py: what is measured, beside whom, and how."""
