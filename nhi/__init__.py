"""What is true, what is wrong, what comes next. Imports neither `bot` nor `jobs`."""
