"""The targets: what reads bytes that come from the network, a module for each.

Each has `fuzz(data)`, which gives an input to the code under test, in the way that its docstring
tells, and asserts what must hold whatever the input is. What it returns tells whether the code
accepted something: so the seeds can be seen to get behind what keeps garbage out.
"""

from __future__ import annotations

from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
