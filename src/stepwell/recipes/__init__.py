"""The recipe: everything that a run is asked for, in one frozen object, and what is derived when nothing is said."""

__all__: list[str] = []
