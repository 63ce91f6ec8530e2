"""The search: studies, the grid as a queue, trials as their jobs see them, winners. Knows nothing of torch."""
