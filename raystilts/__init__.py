"""raystilts: intermediate-task transfer sweeps on Ray, and the statistics that say which of their gains are real."""

__version__ = "0.1.0"
