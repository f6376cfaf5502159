from __future__ import annotations

from hypothesis import settings

# The same examples every time, however slow the machine.
settings.register_profile("theory", deadline=None, derandomize=True, database=None)
settings.load_profile("theory")
