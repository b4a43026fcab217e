"""The library of the decoder, compiled once for this processor and kept in the user's cache folder.

The key is everything that it is made from: the sources, the compiler and what the processor can do. This file leaves
out what the library does.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock

from stepwell.errors import StepwellError
from stepwell.hardware import cache_directory

FOLDER = Path(__file__).parent
SOURCES = ("decoder.cpp", "attention.h", "choice.h", "floats.h", "matmul.h", "threads.h", "vectors.h")
FLAGS = ("-std=c++20", "-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread", "-w")


def find_compiler() -> str | None:
    """The C++ compiler that $CXX names, or the machine's own; None where there is none."""
    return next(
        (found for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and (found := shutil.which(name))),
        None,
    )


@cache
def load_library() -> ctypes.CDLL:
    """The compiled library, made now if it is not there (about ten seconds).

    Raises:
        StepwellError: when there is no C++ compiler, or it cannot compile.
    """
    compiler = find_compiler()
    if compiler is None:
        raise StepwellError(
            "no C++ compiler is found",
            wanted="g++ 11 or clang++ 14, or newer, on the PATH or in $CXX",
            do="install one, or leave --weights out",
        )
    sources = [(FOLDER / name).read_bytes() for name in SOURCES]
    flags = [flag if platform.machine() != "arm64" else flag.replace("-march", "-mcpu") for flag in FLAGS]
    told = subprocess.run(
        [compiler, *flags[:3], "-E", "-dM", "-x", "c++", os.devnull], capture_output=True, check=False
    )
    key = hashlib.sha256(b"\0".join([*sources, *map(str.encode, flags), told.stdout])).hexdigest()[:24]
    library = cache_directory() / "native" / f"{key}.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(library.with_suffix(".lock")):  # another process may be at it: then this one waits
        if not library.exists():
            _compile([compiler, *flags, str(FOLDER / SOURCES[0])], library)
    return ctypes.CDLL(str(library))


def _compile(command: list[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StepwellError(
                "the C++ compiler does not compile the decoder",
                got=next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200]),
                wanted="g++ 11 or clang++ 14, or newer",
                do="name another one in $CXX, or leave --weights out",
            )
        made.replace(library)
