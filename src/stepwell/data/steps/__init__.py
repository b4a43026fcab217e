"""The steps that text goes through on its way to a model, each with its settings beside it; `catalog.py` lists them.

`repair` mends texts, `filters` chooses among them, `duplicates` compares them, `protect` masks personal data,
`annotation` writes columns, `balance` weighs, orders and judges labels, `augmentation` adds. Between texts and splits
stands `cutting.py`. This room leaves out who runs them (`data/pipeline.py`).
"""
