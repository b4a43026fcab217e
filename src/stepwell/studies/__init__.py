"""The closed loop: audit, plan, trial, diagnose, adjust, accept, stop, journal, report."""
