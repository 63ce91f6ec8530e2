"""From a trained network to basecalls of whole reads, how good they are, and the network for other programs."""
