# SPDX-License-Identifier: BSD-3-Clause
"""``python -m nervure`` is ``nervure``."""

import sys

from nervure.cli import main

sys.exit(main())
