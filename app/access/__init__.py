"""Who may enter, what a role may do, how far an account reaches."""
