"""The stick from which a desktop boots: what is on it, and how it gets there."""
