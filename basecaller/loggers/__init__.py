"""Loggers: each writes a training's curve and settings for one tracking tool.

A logger's module is imported only when the logger is chosen, so that its package is needed only then.
"""
