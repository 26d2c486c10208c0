"""stiefelsystem: run the laptop's own OS, from its own disk, on another computer."""

__version__ = "0.1"
