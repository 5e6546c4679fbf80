"""What is measured, and against what: `python -m benchmarks` runs every module here that has `run(bench)`."""
