"""Configs: their keys, checked settings, composition, and messages about them."""
