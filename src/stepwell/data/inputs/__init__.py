"""Where text comes from: files of many kinds, archives, datasets, samples, each read as a stream of texts.

`sources.py` finds what a person named; each other file reads one sort of it. This room leaves out what is done to
the text (`data/pipeline.py`).
"""
