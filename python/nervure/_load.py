# SPDX-License-Identifier: BSD-3-Clause
"""Import of the compiled module, with OpenMP told to spin only briefly.

libgomp reads its settings once, when it is loaded. By default its idle workers spin for
milliseconds, which starves NumPy's own threads and every other process on the same cores; a
thousand pauses (some 50 microseconds) bridge the gap between two layers and no more. The
environment is put back at once: child processes and libraries loaded later see what the user set,
and a user who chose either variable keeps the choice.
"""

import os

SPIN_COUNT = "1000"

_chosen_by_user = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
if not _chosen_by_user:
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
try:
    from . import _core
finally:
    if not _chosen_by_user:
        os.environ.pop("GOMP_SPINCOUNT", None)

__all__ = ["_core"]
