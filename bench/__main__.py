# SPDX-License-Identifier: BSD-3-Clause
"""``python -m nervure.bench`` is ``nervure bench``."""

import sys

from nervure.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
