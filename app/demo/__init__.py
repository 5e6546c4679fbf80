"""The seeded city: everything that a demonstration shows, invented."""
