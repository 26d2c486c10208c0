"""What all unit tests share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure, and the tests leave nothing behind.
settings.register_profile("unit", deadline=None, database=None, max_examples=40)
settings.load_profile("unit")
