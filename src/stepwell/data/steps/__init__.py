"""The steps that text goes through on its way to a model: repaired, chosen, protected, annotated, mixed.

Each is settings and a class in one file; `catalog.py` lists them. This room leaves out who runs them
(`data/pipeline.py`).
"""
