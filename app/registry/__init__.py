"""Authorities, schools, students and their families."""
