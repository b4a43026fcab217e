def measure_all(*a, **k):
    return []
