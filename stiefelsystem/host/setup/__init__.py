"""Changing somebody's OS by steps: shown, asked, recorded before they are done, taken back.

`steps` is what a plan is made of, `execute.execute` does it, `undo.undo` takes it back.
"""
