"""Steps that mend a text: encodings, characters, lines that repeat.

This room leaves out what is dropped as a whole (`filters`).
"""
