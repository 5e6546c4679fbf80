"""The short-lived program that reads what somebody sent us. Started by `book`, never imported by the service but for
its numbers in `limits`: whatever a file does to it, it does to this process and to nobody else."""
