# SPDX-License-Identifier: BSD-3-Clause
"""Training that explains itself: looks at a few updates and warns of usual faults, with the cure.

A fault is a function of what was seen, in ``labels``, ``layers`` or ``gradients``; ``advisor`` says
when to look, and tells each fault once.
"""

from nervure.train.advice.advisor import Advisor, TrainingWarning

__all__ = ["Advisor", "TrainingWarning"]
