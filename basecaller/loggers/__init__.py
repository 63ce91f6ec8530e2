"""Loggers: each writes a training's curve and settings where people look at them.

A logger's module is imported when it is chosen, so that its package is needed only then.
"""
