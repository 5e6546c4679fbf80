"""Payables, the gate before payment, payout batches, bank files, results and returns."""
