"""How fast the router is, side by side with what one would use instead: ``python -m benchmarks``."""
