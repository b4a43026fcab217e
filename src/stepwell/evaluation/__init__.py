"""Metrics, scoring, intervals, and the baseline that every model must beat."""

__all__: list[str] = []
