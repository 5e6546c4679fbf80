"""Vouchers, bank files and exports: hashed, sealed at rest, handed out through a permission check only."""
