"""What benchmarks/data.py measures: how well each step of the pipeline judges, and how fast it is."""
