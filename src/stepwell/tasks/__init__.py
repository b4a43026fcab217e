"""What a model is asked to do: how an example becomes ids, targets and mask, and how the answer is read back."""

__all__: list[str] = []
