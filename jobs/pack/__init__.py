"""The auditor's pack: what there was, who decided what, what came of it, and the proof that none of it was changed.

gather.py reads the database, after.py looks at the clouds again. tables.py, sheets.py, oscal.py and report.py write
files from what was gathered; archive.py binds them to the ledger and puts them into one zip, with a verifier that
needs nothing else.
"""
