# SPDX-License-Identifier: BSD-3-Clause
"""Dates as people write them, and their ISO form: parallel text that needs no file."""

from __future__ import annotations

import datetime
import random

MONTHS = (
    "January February March April May June July August September October November December".split()
)


def ordinal(day: int) -> str:
    """Write 1st, 2nd, 3rd, 4th, ..."""
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def written(date: datetime.date, draw: random.Random) -> str:
    """One of the many ways to write a date."""
    month, day, year = MONTHS[date.month - 1], date.day, date.year
    form = draw.choice(
        [
            f"{month} {day}, {year}",
            f"{day} {month} {year}",
            f"the {ordinal(day)} of {month}, {year}",
            f"{month[:3]} {day} {year}",
            f"{date.strftime('%A')}, {month} {ordinal(day)}, {year}",
            f"{day:02d}.{date.month:02d}.{year}",
            f"{date.month}/{day}/{year}",
            f"{day}-{month[:3]}-{year % 100:02d}",
            f"{year}, {month} {day}",
        ]
    )
    return draw.choice([form, form.lower(), form.upper()])


def dates(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of a date as written and its ISO form, 1970 to 2030."""
    draw = random.Random(seed)
    first = datetime.date(1970, 1, 1).toordinal()
    last = datetime.date(2030, 12, 31).toordinal()
    drawn = [datetime.date.fromordinal(draw.randint(first, last)) for _ in range(count)]
    return [(written(date, draw), date.isoformat()) for date in drawn]
