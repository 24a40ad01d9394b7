"""What can tell of an identity's owner, read from texts: pure.

names.py reads what an identity is called and where it lies; terraform.py, cloudformation.py and kubernetes.py read
where it is declared; codeowners.py and git.py read who answers for those lines and who wrote them; declared.py puts
these together. jobs/evidence.py fetches the texts.
"""
