"""What auditors ask: payouts per batch, who read whom, whether the log still holds."""
