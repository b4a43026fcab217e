"""Commands: parse, call `api`, show. Nothing else."""
