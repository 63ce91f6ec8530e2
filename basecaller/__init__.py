"""basecaller: staged hyperparameter search for nanopore basecallers."""

__version__ = "0.1.0"
