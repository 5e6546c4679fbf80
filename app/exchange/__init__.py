"""Workbooks and files in and out; knows no domain."""
