"""Time: what happens because it is Tuesday. Imports `bot` and `nhi`."""
