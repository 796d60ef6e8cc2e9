"""Check every stored number against its record, its source and its adapter. Imports execution and the rooms below it.

`audit` lists the checks. `findings` needs only the stored files, `recomputation` only the stored numbers; `agreement`
compares them with source and adapter. `re_evaluation` and `retraining` make the new figures. Nothing changes results.
"""
