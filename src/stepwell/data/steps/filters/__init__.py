"""Steps that choose texts: by language, by rules, by models of text, by examples.

A text is kept or dropped as it is; only a very long one loses passages. This room leaves out repairs (`repair`).
"""
