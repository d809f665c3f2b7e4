# SPDX-License-Identifier: BSD-3-Clause
"""The page that :meth:`nervure.Trainer.report` writes."""

from nervure.report._write import write_report

__all__ = ["write_report"]
