"""Basecalls of whole reads with a trained network, their quality, and the network's export for other programs."""
