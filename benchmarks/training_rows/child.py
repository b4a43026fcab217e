"""One side in a process of its own: `python -m training_rows.child FILE:FUNCTION JSON`; its last line is numbers."""

from __future__ import annotations

import importlib
import json
import sys

if __name__ == "__main__":
    file, _, name = sys.argv[1].partition(":")
    numbers = getattr(importlib.import_module(f"training_rows.{file}"), name)(**json.loads(sys.argv[2]))
    print(json.dumps(numbers), flush=True)
