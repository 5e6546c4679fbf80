"""Students from workbooks: what a row is, what it would change, and how it is applied and taken back."""
