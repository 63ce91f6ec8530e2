"""What a search found, as facts, figures and pages. Reads the storage and the experiment's folder; knows nothing of torch."""
