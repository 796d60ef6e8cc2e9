"""Check every record against its files, its source and a new training. Imports execution and the rooms below it.

``audit`` lists the checks. ``findings`` compares the stored files, ``recomputation`` the numbers that follow from
stored ones, ``agreement`` the records with source and adapter; ``re_evaluation`` and ``retraining`` make the numbers to
compare with.
"""
