"""Compare parameter-efficient fine-tuning methods in a literate, bilingual report."""

__version__ = "0.1.0"
