"""A copy of everything that an installation knows, sealed for somebody outside, and the way back."""
