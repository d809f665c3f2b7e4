# SPDX-License-Identifier: BSD-3-Clause
"""show_config: how this installation computes."""

from __future__ import annotations

from nervure import _core


def show_config(mode: str = "stdout") -> _core._Config | None:
    """Show version, processor, instruction set, threads, compiler and build type.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Print the settings, or return them as a dictionary.

    Raises
    ------
    ValueError
        For any other mode.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"[show_config] mode must be 'stdout' or 'dicts', got {mode!r}")
    config = _core.config()
    if mode == "dicts":
        return config
    rows = [
        ("nervure", config["version"]),
        ("processor", config["cpu"]),
        ("instruction set", f"{config['isa']} (available: {', '.join(config['available_isas'])})"),
        ("threads", f"{config['threads']} (from {config['threads_from']}; {config['threading']})"),
        ("compiler", f"{config['compiler']} ({config['build_type']})"),
    ]
    print("\n".join(f"{name:<16} {value}" for name, value in rows))
    return None
