"""Introductions, claims, agreements, remittances and direct disbursements."""
