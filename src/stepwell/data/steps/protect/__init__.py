"""Personal data and secrets: found, masked and counted, never shown.

`detectors.py` is the table of what is found, `protecting.py` the step. This room leaves out whether a text should be
kept at all: it only takes values out of it.
"""
