# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of Nervure against NumPy, PyTorch and JAX: ``nervure bench``.

``registry.py`` says how to add a row, ``kernels.py`` and ``models.py`` hold the rows, ``timing.py``
has the interleaved rounds, ``compare.py`` puts two result files side by side.
"""
