"""The C library's memory: threads of a server share two of its arenas."""

import os
import subprocess
import sys

import pytest

# In a process of its own, as the setting is for good. `malloc_info` lists the arenas; musl and macOS have none.
ARENAS = """
import ctypes, sys, tempfile, threading
from ebm_refine.ui.runtime import freed_memory

library = ctypes.CDLL(None)
if not hasattr(library, "malloc_info"):
    sys.exit("no glibc")
if sys.argv[1] == "shared":
    freed_memory.share_arenas()
started, over = threading.Barrier(13), threading.Event()

def work():
    held = [bytes(500) for _ in range(5000)]
    started.wait()
    over.wait()

threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads:
    thread.start()
started.wait()
library.fopen.restype, library.fclose.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
library.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
with tempfile.NamedTemporaryFile() as file:
    stream = library.fopen(file.name.encode(), b"w")
    library.malloc_info(0, stream)
    library.fclose(stream)
    print(file.read().decode().count("<heap nr="))
over.set()
"""


def arenas(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", ARENAS, how], env={**os.environ}, capture_output=True, text=True, timeout=300)
    if "no glibc" in done.stderr:
        pytest.skip("another C library")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_threads_share_two_arenas() -> None:
    assert arenas("shared") == 2
    assert arenas("as they are") > 4
