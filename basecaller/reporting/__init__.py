"""Results of a search as facts, figures and pages. Reads the storage and the experiment's folder; does not use torch."""
