"""Can every number of a report be believed? The checks of ``make verify``, and what they find.

Owns nothing that trains or reports; looks at what both left behind, and changes none of it. ``audit`` is the list of
checks, ``findings`` what the stored files alone say, ``recomputation`` what follows from stored numbers, ``agreement``
what source and adapter say, ``re_evaluation`` and ``retraining`` where the new figures come from.
"""
